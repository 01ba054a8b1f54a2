//! Scripts and webhooks in tables.

use proto::v1::{Notified, Subscriber};

use super::table;
use crate::units::{age, count};

/// A part of `leveectl status`.
pub(super) fn status(subscribers: &[Subscriber], now_ms: i64) -> String {
    if subscribers.is_empty() {
        return String::new();
    }
    let row = |subscriber: &Subscriber| {
        let state = match (subscriber.failing, subscriber.paused) {
            (true, _) => "FAILING",
            (false, true) => "paused",
            (false, false) => "well",
        };
        let error = match subscriber.last_error_ms {
            0 => String::new(),
            error_ms => format!("{}: {}", age(error_ms, now_ms), subscriber.last_error),
        };
        vec![
            subscriber.name.clone(),
            subscriber.place.clone(),
            state.to_owned(),
            count(subscriber.delivered),
            count(subscriber.waiting),
            count(subscriber.failed),
            count(subscriber.given_up),
            error,
        ]
    };
    let headings = ["TOLD", "AT", "STATE", ">DELIVERED", ">WAITING", ">FAILED", ">GIVEN UP", "LAST ERROR"];
    format!("\n{}", table(&headings, subscribers.iter().map(row)))
}

/// A part of `leveectl attacks show`.
pub(super) fn notified(notified: &[Notified], now_ms: i64) -> String {
    if notified.is_empty() {
        return String::new();
    }
    let row = |told: &Notified| {
        vec![
            told.subscriber.clone(),
            told.what.clone(),
            told.state.clone(),
            told.times.to_string(),
            told.failures.to_string(),
            age(told.time_ms, now_ms),
            told.text.clone(),
        ]
    };
    let headings = ["TOLD", "WHAT", "STATE", ">TIMES", ">IN VAIN", "LAST", ""];
    format!("\n{}", table(&headings, notified.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_and_what_came_of_it() {
        assert_eq!((status(&[], 0), notified(&[], 0)), (String::new(), String::new()));
        let edge = Subscriber {
            name: "notify.edge".into(),
            place: "/etc/levee/notify".into(),
            delivered: 12_345,
            failed: 1,
            given_up: 1,
            failing: true,
            last_error: "exit status 3".into(),
            last_error_ms: 1_000,
            ..Subscriber::default()
        };
        let chat =
            Subscriber { name: "webhooks.chat".into(), place: "https://hooks.example".into(), ..Subscriber::default() };
        let text = status(&[edge, chat], 11_000);
        let lines = [
            "notify.edge    /etc/levee/notify      FAILING     12,345        0       1         1  10 s ago: exit status 3\n",
            "webhooks.chat  https://hooks.example  well             0        0       0         0\n",
        ];
        assert!(lines.iter().all(|line| text.contains(line)), "{text}");
        let told = Notified {
            subscriber: "notify.edge".into(),
            what: "ban".into(),
            state: "failed".into(),
            text: "exit status 3".into(),
            time_ms: 1_000,
            times: 2,
            failures: 1,
        };
        let text = notified(&[told], 11_000);
        assert!(text.ends_with("notify.edge  ban   failed      2        1  10 s ago  exit status 3\n"), "{text}");
    }
}
