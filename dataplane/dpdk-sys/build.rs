//! Finds DPDK by pkg-config, builds the shim, and generates bindings for what is on the list below.

use std::path::PathBuf;
use std::process::Command;

const FUNCTIONS: &[&str] = &[
    "levee_.*",
    "rte_dev_probe",
    "rte_dev_remove",
    "rte_eal_cleanup",
    "rte_eal_init",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_flow_ctrl_get",
    "rte_eth_dev_flow_ctrl_set",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_hash_update",
    "rte_eth_dev_get_name_by_port",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_is_removed",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_link_get_nowait",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_remove_rx_callback",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_get_tsc_hz",
    "rte_mempool_free",
    "rte_mempool_in_use_count",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
    "rte_version",
];

const VARIABLES: &[&str] = &[
    "LEVEE_.*",
    "RTE_ETHER_.*",
    "RTE_ETH_FC_NONE",
    "RTE_ETH_MQ_RX_.*",
    "RTE_ETH_RSS_.*",
    "RTE_ETH_RX_OFFLOAD_.*",
    "RTE_MBUF_DEFAULT_.*",
];

fn pkg_config(what: &str) -> Vec<String> {
    let output = Command::new("pkg-config")
        .args([what, "libdpdk"])
        .output()
        .expect("pkg-config does not run: install pkg-config (scripts/setup.sh does)");
    assert!(
        output.status.success(),
        "pkg-config does not find libdpdk: install libdpdk-dev (scripts/setup.sh does): {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn main() {
    println!("cargo:rerun-if-changed=csrc");
    // Raw, with its `-include rte_config.h` and `-march`: both compilers need the same.
    let cflags = pkg_config("--cflags");
    for flag in pkg_config("--libs") {
        if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={library}");
        } else if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search={folder}");
        }
    }

    let mut shim = cc::Build::new();
    shim.file("csrc/shim.c").opt_level(3);
    for flag in &cflags {
        shim.flag(flag);
    }
    shim.compile("levee_dpdk_shim");

    let mut builder = bindgen::Builder::default()
        .header("csrc/levee_dpdk.h")
        .clang_args(&cflags)
        .clang_macro_fallback()
        .clang_macro_fallback_build_dir(PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")))
        .opaque_type("rte_arp.*")
        .opaque_type("rte_l2tpv2.*")
        .opaque_type("rte_gtp.*")
        .opaque_type("rte_mbuf")
        .allowlist_type("levee_mbuf")
        .derive_default(true)
        .layout_tests(false)
        .generate_comments(false)
        .prepend_enum_name(false);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(name);
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    builder.generate().expect("bindgen reads DPDK's headers").write_to_file(out).expect("OUT_DIR is writable");
}
