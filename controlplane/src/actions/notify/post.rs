//! Posts to a webhook, once: what came of it, and whether it is worth another try. What a peer sends is bounded, and no secret is in any
//! error.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::letter::Letter;
use super::settings::{Address, Webhook};
use super::webhook::{SIGNATURE_HEADER, signature};
use crate::crash::{self, Step, When};
use crate::tls;

/// Of an answer so much is read.
const ANSWER_MAX: usize = 1 << 10;
/// Of an answer so many characters are shown.
const SHOWN_MAX: usize = 200;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;
/// Longest secret, and longest address.
const SECRET_MAX: u64 = 4 << 10;
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(55);
/// No peer puts off the next try for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The same over all tries of a notice.
const DELIVERY: &str = "Levee-Delivery";
/// The word of the event.
const EVENT: &str = "Levee-Event";

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Posted {
    /// The peer took it.
    Delivered(String),
    /// It will not, however often it is asked.
    Refused(String),
    /// It may do so later.
    NotNow {
        /// Why.
        why: String,
        /// Not before, as the peer says.
        after: Option<Duration>,
    },
}

fn not_now(why: String) -> Posted {
    Posted::NotNow { why, after: None }
}

/// A client for this webhook. Reads its certificates.
pub(super) fn client(webhook: &Webhook) -> Result<Client, String> {
    let (tls, _) = tls::config(webhook.ca_file.as_deref(), false)?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(webhook.connect_timeout)
        .timeout(webhook.timeout)
        .pool_idle_timeout(IDLE)
        .http1_max_headers(HEADERS_MAX)
        .user_agent(concat!("levee/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| tls::chain(&error))
}

/// One try. `body` is what the letter says.
pub(super) async fn post(client: &Client, webhook: &Webhook, letter: &Letter, body: String) -> Posted {
    let ready = address(webhook).and_then(|url| Ok((url, secret(webhook)?)));
    let (url, secret) = match ready {
        Ok(ready) => ready,
        // Somebody may put the file there.
        Err(why) => return not_now(why),
    };
    let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
    request = request.header(DELIVERY, letter.id.to_string()).header(EVENT, letter.what());
    if let Some(secret) = secret {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let signature = signature(secret.as_bytes(), since.as_secs() as i64, body.as_bytes());
        request = request.header(SIGNATURE_HEADER, signature);
    }
    crash::point(Step::NotifyPost, When::Before);
    let answered = request.body(body).send().await;
    crash::point(Step::NotifyPost, When::After);
    match answered {
        Ok(response) => judge(response).await,
        Err(error) => not_now(tls::chain(&error.without_url())),
    }
}

async fn judge(response: Response) -> Posted {
    let status = response.status();
    let after = retry_after(response.headers(), SystemTime::now());
    let said = beginning(response).await;
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    let is_passing =
        matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    match () {
        () if status.is_success() => Posted::Delivered(status.to_string()),
        () if is_passing || status.is_server_error() => Posted::NotNow { why, after },
        () if status.is_redirection() => {
            Posted::Refused(format!("{status}: it is elsewhere now, and is not followed there"))
        }
        () => Posted::Refused(why),
    }
}

/// What `Retry-After` says: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?;
            let seconds = date.timestamp().as_second() - now.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
            Duration::from_secs(seconds.max(0) as u64)
        }
    };
    Some(after.min(RETRY_AFTER_MAX))
}

/// The beginning of an answer, in one line. More is not read.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_MAX - bytes.len())]),
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where to. What it is made of is in no error.
fn address(webhook: &Webhook) -> Result<Url, String> {
    let text = match &webhook.address {
        Address::Url(url) => url.clone(),
        Address::File(path) => read(path)?,
    };
    let url = Url::parse(&text).map_err(|error| format!("the address is none: {error}"))?;
    match is_allowed(&url, webhook.plain_http) {
        true => Ok(url),
        false => Err("the address is neither https:// nor http:// to this machine (plain_http)".to_owned()),
    }
}

/// Whether a body may go there.
pub fn is_allowed(url: &Url, plain_http: bool) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    let is_here = address.map_or(host == "localhost", |address| address.is_loopback());
    url.scheme() == "https" || (url.scheme() == "http" && (plain_http || is_here))
}

fn secret(webhook: &Webhook) -> Result<Option<String>, String> {
    webhook.secret_file.as_deref().map(read).transpose()
}

/// A file of one secret line.
fn read(path: &Path) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(SECRET_MAX + 1).read_to_string(&mut text)).map_err(fail)?;
    match text.trim() {
        "" => Err(format!("{}: it is empty", path.display())),
        line if line.len() as u64 > SECRET_MAX => Err(format!("{}: it is too long", path.display())),
        line => Ok(line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_or_where_it_is_allowed() {
        for (url, here, anywhere) in [
            ("https://hooks.example/x", true, true),
            ("http://127.0.0.1:8080/", true, true),
            ("http://[::1]/", true, true),
            ("http://localhost/", true, true),
            ("http://192.0.2.1/", false, true),
            ("http://localhost.example/", false, true),
            ("ftp://localhost/", false, false),
            ("file:///etc/passwd", false, false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!((is_allowed(&url, false), is_allowed(&url, true)), (here, anywhere), "{url}");
        }
    }

    #[test]
    fn a_peer_may_put_off_the_next_try_but_not_for_ever() {
        let now = UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        for (text, after) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("999999999", Some(3600)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(10)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), after.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_secret_is_one_line_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let found = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        assert_eq!(found("s3cret\n"), Ok("s3cret".to_owned()));
        assert!(found("\n").is_err_and(|error| error.ends_with("it is empty")));
        let long = found(&"x".repeat(5_000));
        assert!(long.is_err_and(|error| error.ends_with("too long")));
        assert!(read(Path::new("/nonexistent")).is_err_and(|error| error.contains("No such file")));
    }
}
