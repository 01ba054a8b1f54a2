//! Rules by hand, many at a time.

use std::future::Future;

use proto::v1;

use super::daemon::{Client, Leveed};

/// So many requests at a time: the daemon answers each within 3 s.
const AT_ONCE: usize = 20;

/// Adds rules in JSON.
#[track_caller]
pub(crate) fn add(leveed: &Leveed, rules: &[String]) -> Vec<v1::Rule> {
    in_chunks(leveed, rules, |mut api, flow_spec_json| async move {
        let request = v1::AddRuleRequest { flow_spec_json, seconds: 0, reason: "test".to_owned() };
        api.add_rule(request).await.expect("added").into_inner().rule.expect("a rule")
    })
}

/// Takes rules back.
#[track_caller]
pub(crate) fn remove(leveed: &Leveed, rules: &[v1::Rule]) {
    let ids: Vec<String> = rules.iter().map(|rule| rule.id.clone()).collect();
    in_chunks(leveed, &ids, |mut api, id| async move {
        let request = v1::RemoveRuleRequest { id, reason: "test".to_owned() };
        api.remove_rule(request).await.expect("removed");
    });
}

/// One request for each of these.
fn in_chunks<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    leveed: &Leveed,
    all: &[String],
    request: impl Fn(Client, String) -> F,
) -> Vec<T> {
    leveed.block_on(async {
        let api = leveed.connect().await;
        let mut answers = Vec::new();
        for chunk in all.chunks(AT_ONCE) {
            let requests: Vec<_> = chunk.iter().map(|one| tokio::spawn(request(api.clone(), one.clone()))).collect();
            for answer in requests {
                answers.push(answer.await.expect("an answer"));
            }
        }
        answers
    })
}
