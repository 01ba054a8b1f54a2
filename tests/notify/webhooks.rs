//! Webhooks: signatures, order, tries, secrets.

use std::fs;
use std::time::Duration;

use super::support::hook::{Hook, Posted};
use super::support::wait_until;
use super::{SOON, Site};

const SECRET: &str = "s3cret of the hook";

/// A webhook with all that is needed.
fn webhook(site: &Site, hook: &Hook, name: &str, more: &str) -> String {
    let (certificate, secret) = (site.leveed.path("ca.pem"), site.leveed.path("hook.secret"));
    fs::write(&certificate, hook.pem()).unwrap();
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    format!("[webhooks.{name}]\nurl = {:?}\nca_file = {certificate:?}\nsecret_file = {secret:?}\n{more}\n", hook.url())
}

#[track_caller]
fn wait_posted(hook: &Hook, count: usize) -> Vec<Posted> {
    wait_until(SOON, &format!("{count} posts"), || {
        let posted = hook.posted();
        (posted.len() >= count).then_some(posted)
    })
}

fn event(posted: &Posted) -> String {
    posted.json()["event"].as_str().expect("an event").to_owned()
}

/// As any receiver would do it.
#[track_caller]
fn assert_signed(posted: &Posted) {
    let signature = posted.header("levee-signature");
    let (time, digest) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect(signature);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(time.parse().unwrap()) < 120, "{signature}");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let bytes: Vec<u8> =
        (0..digest.len()).step_by(2).map(|at| u8::from_str_radix(&digest[at..at + 2], 16).unwrap()).collect();
    ring::hmac::verify(&key, format!("{time}.{}", posted.body).as_bytes(), &bytes).expect("a good signature");
}

#[test]
fn webhooks_are_signed_in_order_and_tried_again() {
    let mut site = Site::prepare();
    let (hook, chat) = (Hook::start(), Hook::start());
    let url = site.leveed.path("chat.url");
    fs::write(&url, format!("{}/T0/B0/hidden-token\n", chat.url())).unwrap();
    let certificate = site.leveed.path("chat.pem");
    fs::write(&certificate, chat.pem()).unwrap();
    let sections = webhook(&site, &hook, "record", "events = [\"detected\", \"ending\"]\nback_off_max_s = 1")
        + &format!(
            "[webhooks.chat]\nurl_file = {url:?}\nca_file = {certificate:?}\ntemplate = \"slack\"\nevents = [\"detected\"]\n"
        );
    site.configure("", &sections);
    site.leveed.start();

    hook.answer(&[(500, ""), (503, "Retry-After: 2")]);
    let id = site.ban("198.18.0.1");
    site.unban("198.18.0.1");
    let posted = wait_posted(&hook, 4);
    let events: Vec<String> = posted.iter().map(event).collect();
    assert_eq!(events, ["detected", "detected", "detected", "ending"], "in order, however often it takes");
    posted.iter().for_each(assert_signed);
    let deliveries: Vec<&str> = posted.iter().map(|posted| posted.header("levee-delivery")).collect();
    assert!(deliveries[0] == deliveries[2] && deliveries[2] != deliveries[3], "{deliveries:?}");
    assert_eq!((posted[3].header("levee-event"), posted[3].path.as_str()), ("ending", "/hooks/levee"));
    assert!(posted[2].at - posted[1].at >= Duration::from_secs(2), "it minds Retry-After");
    assert!(posted[1].at - posted[0].at >= Duration::from_millis(400), "it pauses");
    let record = posted[0].json();
    assert_eq!((&record["attack"]["id"], &record["attack"]["target"]), (&id.clone().into(), &"198.18.0.1/32".into()));
    let told = site.wait_notified(&id, "webhooks.record", "detected");
    assert_eq!((told.state.as_str(), told.text.as_str()), ("delivered", "200 OK"));
    let state = site.wait_idle("webhooks.record");
    assert_eq!((state.delivered, state.failed, state.given_up, state.failing), (2, 2, 0, false));
    assert!(state.last_error.starts_with("503 Service Unavailable: status 503 xxx") && state.last_error.len() < 400);

    let message = wait_posted(&chat, 1).remove(0);
    let text = message.json()["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("detected") && text.contains("198.18.0.1"), "{text}");
    assert_eq!(
        (message.path.as_str(), message.headers.iter().any(|(name, _)| name == "levee-signature")),
        ("/hooks/levee/T0/B0/hidden-token", false)
    );

    // What is refused, or leads elsewhere, is not tried again, and the next one goes.
    hook.answer(&[(404, ""), (302, "Location: https://127.0.0.1/elsewhere")]);
    let id = site.ban("198.18.0.2");
    site.unban("198.18.0.2");
    for (what, words) in [("detected", "404 Not Found: status 404"), ("ending", "302 Found: it is elsewhere")] {
        let told = site.wait_notified(&id, "webhooks.record", what);
        assert!(told.state == "failed" && told.text.starts_with(words), "{told:?}");
    }
    assert_eq!(hook.posted().len(), 6);
    assert!(
        site.leveed.alarms().iter().any(|alarm| alarm.starts_with("webhooks.record (https://127.0.0.1:")),
        "an alarm"
    );

    // One that dawdles holds up its own target alone; and what was due is told after a kill.
    hook.dawdle(Duration::from_secs(5));
    let slow = site.ban("198.18.0.3");
    wait_posted(&hook, 7);
    site.unban("198.18.0.3");
    let other = site.ban("198.18.0.4");
    assert_eq!(wait_posted(&hook, 8)[7].json()["attack"]["target"], "198.18.0.4/32");
    site.wait_notified(&other, "webhooks.record", "detected");
    site.leveed.kill();
    site.leveed.start();
    let after = wait_posted(&hook, 10);
    let of_slow: Vec<String> =
        after.iter().filter(|posted| posted.json()["attack"]["id"] == slow.as_str()).map(event).collect();
    assert_eq!(of_slow, ["detected", "detected", "ending"], "at least once, and in order");
    assert_eq!(after[6].header("levee-delivery"), after[8].header("levee-delivery"), "a receiver can tell");
    site.wait_idle("webhooks.record");

    let log = site.leveed.log();
    let status = format!("{:?}", site.leveed.status());
    for text in [&log, &status] {
        assert!(!text.contains("s3cret") && !text.contains("hidden-token"), "no secret is shown");
    }
}

/// Whoever is out of reach is tried again for so long, and given up then.
#[test]
fn a_webhook_out_of_reach_is_given_up_in_time() {
    let mut site = Site::prepare();
    let closed = mitigator_stub::free_port();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let sections = format!(
        "[webhooks.gone]\nurl = \"http://{address}/\"\nevents = [\"detected\"]\nback_off_max_s = 1\ngive_up_after_s = 2\n"
    );
    site.configure("", &sections);
    site.leveed.start();
    let id = site.ban("198.18.0.1");
    let told = site.wait_notified(&id, "webhooks.gone", "detected");
    assert!(told.state == "failed" && told.text.starts_with("given up after "), "{told:?}");
    let state = site.subscriber("webhooks.gone");
    assert!(state.failed >= 3 && state.given_up == 1 && state.waiting == 0 && state.failing, "{state:?}");
}
