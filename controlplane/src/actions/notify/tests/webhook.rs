//! Posts, signatures, and the form on disk.

use serde_json::{Value, json};

use super::super::notice::Layout;
use super::super::webhook::{body, signature, slack};
use super::*;

const DOCUMENT: &str = include_str!("../../../../../docs/notify.md");

#[test]
fn a_post_has_event_time_text_and_the_attack_as_leveectl_shows_it() {
    let mut notice = syn_flood(EventKind::Mitigating);
    notice.record.rules = vec![samples::rule("198.18.7.7/32", Some("203.0.113.0/24"), TIME_MS)];
    let json: Value = serde_json::from_str(&body(&notice)).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["event", "time", "text", "attack"]);
    assert_eq!((&json["event"], &json["time"]), (&json!("mitigating"), &json!("2026-11-21T19:14:23.798Z")));
    let attack = &json["attack"];
    assert_eq!((&attack["target"], &attack["direction"]), (&json!("198.18.7.7/32"), &json!("incoming")));
    assert_eq!((&attack["metric"], &attack["current"]["tcp_syn_pps"]), (&json!("tcp_syn_pps"), &json!(51_470.0)));
    assert_eq!(attack["rules"][0]["flow_spec"]["source_prefix"], "203.0.113.0/24");
}

#[test]
fn the_documentation_shows_what_is_posted() {
    let notice = syn_flood(EventKind::Detected);
    let mut json: Value = serde_json::from_str(&body(&notice)).unwrap();
    json["attack"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| ["id", "target", "direction", "group", "state"].contains(&key.as_str()));
    let examples = [format!("{json:#}"), slack(&notice), signature(b"a secret", 1_795_288_464, b"{}")];
    let missing: Vec<_> = examples.iter().filter(|example| !DOCUMENT.contains(*example)).collect();
    assert!(missing.is_empty(), "docs/notify.md lacks {missing:#?}");
}

#[test]
fn a_chat_message_is_short_and_nobody_can_slip_anything_in() {
    let mut notice = syn_flood(EventKind::FalsePositive);
    notice.text = format!("<!channel> & <https://example.net|here>\n*\u{7}{}", "ä".repeat(5_000));
    notice.record.group = "<@all>\n".into();
    let json: Value = serde_json::from_str(&slack(&notice)).unwrap();
    let text = json["text"].as_str().unwrap();
    let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("two lines, not {text}") };
    assert!(
        first.starts_with("*false positive* &lt;!channel&gt; &amp; &lt;https://example.net|here&gt; * ä"),
        "{first}"
    );
    assert!(first.ends_with("ä…") && first.chars().count() < 1_100);
    assert_eq!(
        second,
        "198.18.7.7 incoming · group &lt;@all&gt;  · now 52000 packets/s, 17 Mbit/s · peak 52000 packets/s, 17 Mbit/s"
    );
}

#[test]
fn a_signature_is_what_others_compute() {
    // printf '1700000000.{"event":"ended"}' | openssl dgst -sha256 -hmac 'a secret'
    let expected = "f9a3417f4eea624dedbdf1d14ebe9123733f234791d80cb024df36c97e446635";
    let body = br#"{"event":"ended"}"#;
    assert_eq!(signature(b"a secret", 1_700_000_000, body), format!("t=1700000000,v1={expected}"));
    let others = [signature(b"b secret", 1_700_000_000, body), signature(b"a secret", 1_700_000_001, body)];
    assert!(others.iter().all(|other| !other.ends_with(expected)));
}

#[test]
fn a_notice_reads_back_is_compact_and_may_lack_what_is_new() {
    let mut notice = syn_flood(EventKind::FalsePositive);
    notice.packets = vec![packet("203.0.113.9:1024", 0x02, 0); 500];
    let json = serde_json::to_string(&notice).unwrap();
    assert_eq!(serde_json::from_str::<Notice>(&json).unwrap(), notice);
    assert!(json.len() < 500 * 140 + 6_000, "{}", json.len());

    let mut json = serde_json::to_value(&notice).unwrap();
    let fields = json.as_object_mut().unwrap();
    for key in ["text", "traffic", "packets"] {
        fields.remove(key).expect(key);
    }
    fields.insert("not known yet".into(), json!([1]));
    let expected = Notice { text: String::new(), traffic: Traffic::default(), packets: vec![], ..notice };
    assert_eq!(serde_json::from_value::<Notice>(json).unwrap(), expected);
    let packet: PacketLine = serde_json::from_value(json!({ "s": "192.0.2.1", "d": "2001:db8::1" })).unwrap();
    assert_eq!((packet.one_in, packet.ports, packet.time_us), (1, (0, 0), 0));
}

#[test]
fn layouts_and_events_have_the_words_that_users_know() {
    let layouts = ["1.2.4", "1.2.6", "advanced"].map(|word| serde_json::from_value::<Layout>(word.into()).unwrap());
    assert_eq!(layouts, [Layout::Classic, Layout::Newer, Layout::Advanced]);
    for word in [
        "detected",
        "waiting",
        "captured",
        "mitigating",
        "rule_wanted",
        "rule_held",
        "rule_withdrawn",
        "ending",
        "ended",
        "false_positive",
        "paused",
        "resumed",
        "alarm",
        "recovered",
        "changed",
        "switched",
    ] {
        assert_eq!(serde_json::from_value::<EventKind>(word.into()).unwrap().as_str(), word);
    }
}
