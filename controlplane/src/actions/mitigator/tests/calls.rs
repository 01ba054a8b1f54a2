//! The client by itself: what it says to every answer, and that it keeps its secrets.

use mitigator_stub::{Certificate, free_port};

use super::super::client::{Client, Error};
use super::*;

fn client(settings: &Settings) -> Client {
    Client::new(Arc::new(settings.clone())).unwrap()
}

/// One stub, and settings for it.
fn one() -> (TempDir, Stub, Settings) {
    let (folder, stub) = (tempfile::tempdir().unwrap(), Stub::local("v21.04"));
    let settings = settings(&folder, &[&stub]);
    (folder, stub, settings)
}

fn log_ins(stub: &Stub) -> usize {
    stub.state().requests.iter().filter(|request| request.path.ends_with("users/session")).count()
}

#[tokio::test]
async fn a_token_is_kept_until_it_is_refused_and_then_got_anew_once() {
    let (_folder, stub, settings) = one();
    let mut client = client(&settings);
    assert_eq!(client.version(&settings).await.unwrap(), "v21.04");
    assert_eq!(client.switch(&settings, Some(1), "tcp").await, Ok(Some(false)));
    assert_eq!(log_ins(&stub), 1);
    stub.state().expire();
    client.put_switch(&settings, 1, "tcp", true).await.unwrap();
    assert_eq!((log_ins(&stub), stub.state().is_on(1, "tcp")), (2, true));
    stub.state().fault("GET /api/v4/tcp", 2, Fault::Status(403, "{\"error\": \"not yours\"}".into()));
    let refused = client.switch(&settings, Some(1), "tcp").await.unwrap_err();
    assert!(matches!(refused, Error::Refused { status: 403, .. }) && refused.to_string().contains("not yours"));
    assert_eq!(log_ins(&stub), 3, "once more, and no more");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_never_shown() {
    let (_folder, stub, settings) = one();
    stub.state().user.1 = "another".into();
    let mut client = client(&settings);
    let error = client.version(&settings).await.unwrap_err();
    assert!(matches!(&error, Error::LogIn(reason) if reason.contains("wrong user or password")), "{error}");
    assert_eq!(log_ins(&stub), 1);
    // The stub said what it was sent.
    let text = format!("{error} {error:?}");
    let words = ["pass \"word\"", "pass \\\"word\\\"", "20% tests"];
    assert!(text.contains("***") && !words.iter().any(|word| text.contains(word)), "{text}");
    for (content, reason) in [(None, "No such file"), (Some("\n"), "is empty"), (Some(&*"x".repeat(2000)), "too long")]
    {
        let PasswordSource::File(path) = &settings.password else { unreachable!() };
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let error = client.log_in().await.unwrap_err();
        assert!(matches!(&error, Error::LogIn(text) if text.contains(reason)), "{error}");
    }
}

#[tokio::test]
async fn every_answer_is_understood_or_named() {
    let (_folder, stub, mut settings) = one();
    settings.timeout = Duration::from_millis(300);
    let mut client = client(&settings);
    client.log_in().await.unwrap();
    let body = |body: &str| Fault::Body(body.to_owned());
    let status = |status, body: &str| Fault::Status(status, body.to_owned());
    let long = "x".repeat(5 << 20);
    let cases: [(Fault, Result<Option<bool>, &str>); 22] = [
        (body("{\"data\":{\"switch\":true}}"), Ok(Some(true))),
        (body("{\"data\":{\"switch\":1}}"), Ok(Some(true))),
        (body("{\"data\":{\"switch\":false},\"error\":null}"), Ok(Some(false))),
        (status(404, "{\"error\":\"not found\"}"), Ok(None)),
        (status(404, "<html>"), Ok(None)),
        (status(400, "{\"error\":{\"a\":[1,2]}}"), Err("refused: 400 Bad Request: {\"a\":[1,2]}")),
        (status(409, "{\"error\":\"two\\nlines\"}"), Err("refused: 409 Conflict: two lines")),
        (status(302, ""), Err("refused: 302 Found")),
        (body("{\"error\":7}"), Err("refused: 200 OK: 7")),
        (body("{\"data\":null}"), Err("no data.switch that is on or off")),
        (body("{\"data\":{\"switch\":\"on\"}}"), Err("no data.switch")),
        (body("{\"data\":{\"switch\":2}}"), Err("no data.switch")),
        (body("[]"), Err("neither data nor error: []")),
        (body("null"), Err("neither data nor error")),
        (body("<html>go away</html>"), Err("no JSON")),
        (body(""), Err("no JSON")),
        (body(&"[".repeat(10_000)), Err("no JSON")),
        (body(&long), Err("more than 4194304 bytes")),
        (status(500, "{\"error\":\"oops\"}"), Err("it failed: ")),
        (Fault::Drop, Err("cannot be reached: ")),
        (Fault::Garbage, Err("cannot be reached: ")),
        (Fault::Slow(Duration::from_secs(1)), Err("timed out")),
    ];
    for (fault, right) in cases {
        stub.state().heal();
        stub.state().fault("GET /api/v4/tcp", usize::MAX, fault.clone());
        let answer = client.switch(&settings, Some(1), "tcp").await;
        let shown = format!("{fault:?}").chars().take(100).collect::<String>();
        match (answer, right) {
            (answer, Ok(right)) => assert_eq!(answer, Ok(right), "{shown}"),
            (Ok(answer), Err(_)) => panic!("{shown}: {answer:?}"),
            (Err(error), Err(right)) => {
                let text = error.to_string();
                assert!(text.contains(right) && text.len() < 700, "{shown}: {text}");
            }
        }
    }
    // After a PUT nobody looks at what comes with success.
    for fault in
        [body("{\"data\":null}"), body("{\"data\":[1]}"), status(204, ""), body("{\"data\":{},\"error\":\"x\"}")]
    {
        stub.state().heal();
        stub.state().fault("PUT /api/v4/tcp", 1, fault);
        assert_eq!(client.put_switch(&settings, 1, "tcp", true).await, Ok(()));
    }
    // A switch that was never configured.
    stub.state().heal();
    stub.state().switches.remove(&(Some(1), "tcp".to_owned()));
    assert_eq!(client.switch(&settings, Some(1), "tcp").await, Ok(None));
    client.put_switch(&settings, 1, "tcp", true).await.unwrap();
    assert_eq!(client.switch(&settings, Some(1), "tcp").await, Ok(Some(true)));
}

#[tokio::test]
async fn the_leader_is_followed_with_the_same_token_and_nodes_come_in_order() {
    let (folder, first) = (tempfile::tempdir().unwrap(), Stub::local("v21.04"));
    let second = first.beside(free_port(), Certificate::SelfSigned);
    let dead = format!("https://{}", free_port().local_addr().unwrap());
    let mut settings = settings(&folder, &[&first, &second]);
    settings.addresses = vec![dead.clone(), first.url()];
    let mut client = client(&settings);
    client.log_in().await.unwrap();
    assert_eq!(client.node(), first.url(), "the first that answers");
    let location = format!("{}/api/v4/somewhere?else", second.url());
    first.state().fault("PUT /api/v4/tcp", 1, Fault::Misdirected(location.clone()));
    first.state().forget();
    client.put_switch(&settings, 1, "tcp", true).await.unwrap();
    let requests = first.state().requests.clone();
    let line = |at: usize| (requests[at].path.as_str(), requests[at].status, requests[at].token.as_str());
    assert_eq!(
        [line(0), line(1)],
        [
            ("/api/v4/tcp/switch?policy=1", 421, "token-1-of-the-stub"),
            ("/api/v4/tcp/switch?policy=1", 200, "token-1-of-the-stub")
        ]
    );
    assert_eq!((requests.len(), client.node()), (2, second.url().as_str()), "and stays there");
    for (times, location, reason) in [
        (4, location.as_str(), "and 421 from there"),
        (2, "http://127.0.0.1:1/", "421 to http://127.0.0.1:1/"),
        (2, "", "421 to"),
        (2, &dead, "its leader"),
    ] {
        first.state().heal();
        first.state().fault("PUT /api/v4/tcp", times, Fault::Misdirected(location.to_owned()));
        let error = client.put_switch(&settings, 1, "tcp", false).await.unwrap_err();
        assert!(matches!(&error, Error::Unreachable(text) if text.contains(reason)), "{location}: {error}");
    }
    // A node that fails is passed over.
    first.state().heal();
    first.state().fault("GET /api/v4/tcp", 1, Fault::Status(502, String::new()));
    assert_eq!(client.switch(&settings, Some(1), "tcp").await, Ok(Some(true)));
}

#[tokio::test]
async fn only_certificates_that_are_known_are_trusted() {
    let (folder, own) = (tempfile::tempdir().unwrap(), Stub::local("v21.04"));
    let signed = own.beside(free_port(), Certificate::Signed);
    let other = Stub::local("v21.04");
    let of = |ca: Option<&Stub>, node: &Stub| {
        let mut settings = settings(&folder, &[ca.unwrap_or(node)]);
        settings.addresses = vec![node.url()];
        if ca.is_none() {
            settings.ca_file = None;
        }
        settings
    };
    let enter = async |settings: &Settings| client(settings).log_in().await;
    assert_eq!(enter(&of(Some(&own), &own)).await, Ok(()), "its own, which is in ca_file");
    assert_eq!(enter(&of(Some(&signed), &signed)).await, Ok(()), "an authority's");
    for (ca, node) in [(Some(&other), &own), (Some(&own), &signed), (None, &own)] {
        let error = enter(&of(ca, node)).await;
        let is_about_trust = |text: &str| text.contains("certificate") || text.contains("authorities");
        let text = match &error {
            Err(error) => error.to_string(),
            Ok(()) => panic!("it is trusted"),
        };
        assert!(is_about_trust(&text), "{text}");
    }
    let trusting = Settings { insecure: true, ..of(None, &own) };
    assert_eq!(enter(&trusting).await, Ok(()));
    let no_file = Settings { ca_file: Some("/nonexistent/ca.pem".into()), ..trusting.clone() };
    assert_eq!(enter(&no_file).await, Ok(()), "nobody looks at it");
    assert!(matches!(Client::new(Arc::new(Settings { insecure: false, ..no_file })), Err(Error::Setup(_))));
}
