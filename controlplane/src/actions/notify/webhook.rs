//! What is posted to a webhook, and its signature. Pure.

use ring::hmac;
use serde_json::json;

use super::figures::{mbps, whole};
use super::notice::Notice;
use crate::api::convert;
use crate::attack::Rate;

/// The header with the signature: `t=1700000000,v1=5257a8…`.
pub const SIGNATURE_HEADER: &str = "Levee-Signature";

/// Characters of an event's text in a chat message.
const TEXT_MAX: usize = 1_000;

/// The event, its time and text, and the attack with the fields of `leveectl attacks show --json`, without its journal.
pub fn body(notice: &Notice) -> String {
    let attack = proto::json::shape(&convert::at_event(&notice.record)).unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(notice.time_ms).unwrap_or_default();
    json!({
        "event": notice.kind.as_str(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        "text": notice.text,
        "attack": attack,
    })
    .to_string()
}

/// A message as Slack takes it, and chats that are compatible with it.
pub fn slack(notice: &Notice) -> String {
    let record = &notice.record;
    let speed = |rate: Rate| format!("{} packets/s, {} Mbit/s", whole(rate.pps), mbps(rate));
    let mut text = format!("*{}* {}", notice.kind.as_str().replace('_', " "), escaped(&notice.text));
    let (now, peak) = (speed(record.current.total), speed(record.peak.total));
    text += &format!("\n{} · group {} · now {now} · peak {peak}", record.target, escaped(&record.group));
    match record.wanted_rules().count() {
        0 => (),
        1 => text += " · 1 rule",
        rules => text += &format!(" · {rules} rules"),
    }
    json!({ "text": text }).to_string()
}

/// Text that Slack shows as it is: no link, no mention, no line of its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for (index, char) in text.chars().enumerate() {
        match char {
            _ if index >= TEXT_MAX => {
                escaped.push('…');
                break;
            }
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            char if char.is_control() => escaped.push(' '),
            char => escaped.push(char),
        }
    }
    escaped
}

/// The value of [`SIGNATURE_HEADER`]: the time, seconds since 1970, and HMAC-SHA256 with the secret over time, "." and body in hex.
pub fn signature(secret: &[u8], time_s: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{time_s}.").as_bytes());
    context.update(body);
    let digits: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time_s},v1={digits}")
}
