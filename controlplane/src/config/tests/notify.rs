//! Sections `[notify.NAME]` and `[webhooks.NAME]`: the shipped example once it is used, and what a bad one is told.

use super::*;
use crate::actions::notify::notice::Layout;
use crate::actions::notify::settings::samples::{script, webhook};
use crate::actions::notify::settings::{Address, Subscriber, Template, Way};
use crate::detector::EventKind;

const SCRIPT: &str = "[notify.edge]\nscript = \"/etc/levee/notify.sh\"\n";
const WEBHOOK: &str = "[webhooks.chat]\nurl = \"https://hooks.example/levee\"\n";

fn read(text: &str) -> Vec<Subscriber> {
    parse("levee.toml", format!("{SMALL}{text}")).unwrap_or_else(|error| panic!("{error}")).subscribers
}

#[test]
fn the_example_in_use_shows_the_defaults_and_every_key_is_a_leaf() {
    let text = mitigator::in_use();
    let example = parse("levee.toml", text.clone()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(example.subscribers, read(&format!("{SCRIPT}{WEBHOOK}")));
    let [edge, chat] = &example.subscribers[..] else { panic!("two") };
    assert_eq!(*edge, script("/etc/levee/notify.sh"));
    let Way::Webhook(found) = &chat.way else { panic!("a webhook") };
    assert_eq!((chat.name.as_str(), chat.acts, chat.at_most, found.events.len()), ("webhooks.chat", false, 4, 6));
    assert_eq!(found.events[0], EventKind::Detected);
    let mut small = webhook("https://hooks.example/levee");
    small.events.clone_from(&found.events);
    assert_eq!(*found, small);

    let leaves = example.leaves();
    let mut keys = Vec::new();
    edit::paths("", &toml::Value::Table(text.parse().unwrap()), &mut keys);
    let is_mine = |key: &str| key.starts_with("notify.") || key.starts_with("webhooks.");
    let mine: Vec<_> = keys.iter().filter(|key| is_mine(key)).collect();
    assert!(mine.len() > 18, "{mine:?}");
    for key in mine {
        assert_eq!(leaves.iter().filter(|leaf| leaf.key == *key).count(), 1, "{key}");
    }
    let mut written = text.clone();
    for leaf in leaves.iter().filter(|leaf| is_mine(&leaf.key)) {
        let value = if leaf.is_list { format!("[{}]", leaf.values.join(", ")) } else { leaf.values[0].clone() };
        written = edit::edit(&written, &leaf.key, Some(&value)).unwrap_or_else(|error| panic!("{error}"));
    }
    let again = parse("levee.toml", written).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(again.subscribers, example.subscribers);
    assert!(changes(&example, &again).is_empty());
}

#[test]
fn what_is_read() {
    let text = "[notify.b]\nscript = \"/b\"\nlayout = \"1.2.6\"\nreport_packets = 0\ntimeout_s = 5\ngroups = [\"default\"]\nacts = false\n\
                [notify.a]\nscript = \"/a\"\nlayout = \"advanced\"\nat_most = 1\n\
                [webhooks.a]\nurl_file = \"/u\"\nsecret_file = \"/s\"\ntemplate = \"slack\"\nevents = [\"alarm\"]\nplain_http = true\n";
    let [a, b, hook] = &read(text)[..] else { panic!("three") };
    assert_eq!([&a.name, &b.name, &hook.name], ["notify.a", "notify.b", "webhooks.a"]);
    let (Way::Script(of_a), Way::Script(of_b), Way::Webhook(of_hook)) = (&a.way, &b.way, &hook.way) else { panic!() };
    assert_eq!((of_a.layout, of_b.layout, of_b.report_packets), (Layout::Advanced, Layout::Newer, 0));
    assert_eq!((a.at_most, b.acts, b.groups.join(" "), of_b.timeout.as_secs()), (1, false, "default".into(), 5));
    assert_eq!(of_hook.address, Address::File("/u".into()));
    assert_eq!(
        (of_hook.template, &of_hook.events[..], of_hook.plain_http),
        (Template::Slack, &[EventKind::Alarm][..], true)
    );
    assert!(parse("levee.toml", SMALL.to_owned()).unwrap().subscribers.is_empty());
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let script = |line: &str, key: &str, found: &str, hint: &str| {
        assert_after_small(&format!("{SCRIPT}{line}\n"), 3, &format!("notify.edge.{key}"), found, hint);
    };
    script("layout = \"1.2.5\"", "layout", "unknown word \"1.2.5\"", "`1.2.");
    script("report_packets = 1001", "report_packets", "out of range", "0 to 1000");
    script("timeout_s = 0", "timeout_s", "out of range", "1 to 3600");
    script("at_most = 65", "at_most", "out of range", "1 to 64");
    script("groups = [\"wbe\"]", "groups[0]", "unknown word", "default");
    script("args = []", "args", "unknown key", "known here");
    let path = "[notify.edge]\nscript = \"notify.sh\"\n";
    assert_after_small(path, 2, "notify.edge.script", "is not an absolute path", "from the root");
    assert_after_small("[notify.\"a b\"]\nscript = \"/a\"\n", 1, "notify.a b", "is no name", "letters");
    let webhook = |line: &str, key: &str, found: &str, hint: &str| {
        assert_after_small(&format!("{WEBHOOK}{line}\n"), 3, &format!("webhooks.chat.{key}"), found, hint);
    };
    webhook("template = \"slak\"", "template", "unknown word", "`slack`?");
    webhook("events = [\"ended\", \"notified\"]", "events[1]", "unknown word \"notified\"", "known here");
    webhook("events = [\"ended\", \"ended\"]", "events[1]", "twice", "once");
    webhook("give_up_after_s = 0", "give_up_after_s", "out of range", "1 to 2592000");
    let url = "webhooks.chat.url";
    assert_after_small(&format!("{WEBHOOK}url_file = \"/u\"\n"), 2, url, "two places", "leave one");
    assert_after_small("[webhooks.chat]\n", 1, url, "no address", "url_file");
    for bad in ["http://192.0.2.1/x", "hooks.example", "ftp://127.0.0.1/"] {
        assert_after_small(&format!("[webhooks.chat]\nurl = {bad:?}\n"), 2, url, "no address of a webhook", "https://");
    }
    read("[webhooks.here]\nurl = \"http://127.0.0.1:8080/x\"\n");
    let many: String = (0..17).map(|n| format!("[notify.n{n:02}]\nscript = \"/a\"\n")).collect();
    assert_after_small(&many, 33, "notify", "17 sections", "at most 16");
}

#[test]
fn files_that_are_missing_or_no_programs_are_warnings() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("plain"), "").unwrap();
    let text = format!(
        "{SMALL}[notify.none]\nscript = \"/nonexistent/x\"\n[notify.plain]\nscript = {:?}\n[notify.sh]\nscript = \"/bin/sh\"\n\
         [webhooks.a]\nurl = \"https://a.example\"\nsecret_file = {:?}\nca_file = \"/etc\"\n",
        path("plain"),
        path("plain"),
    );
    let found = warnings(&parse("levee.toml", text).unwrap());
    let keys: Vec<&str> = found.iter().map(|finding| finding.key()).collect();
    assert_eq!(keys, ["notify.none.script", "notify.plain.script", "webhooks.a.ca_file"]);
    let words = ["No such file", "cannot be run", "is no file"];
    assert!(found.iter().zip(words).all(|(finding, word)| finding.found().contains(word)), "{found:?}");
}
