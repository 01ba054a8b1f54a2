//! Scripts and webhooks, and what they were told, in the types of `proto`.

use proto::v1;

use crate::actions::notify::report::OfSubscriber;
use crate::record::NotifiedRecord;

pub(super) fn subscriber(report: &OfSubscriber) -> v1::Subscriber {
    v1::Subscriber {
        name: report.name.clone(),
        place: report.place.clone(),
        delivered: report.delivered,
        failed: report.failed,
        given_up: report.given_up,
        waiting: report.waiting,
        running: report.running,
        paused: report.paused,
        failing: report.is_failing,
        last_error: report.error.clone(),
        last_error_ms: report.error_ms,
    }
}

pub(super) fn notified(record: &NotifiedRecord) -> v1::Notified {
    let NotifiedRecord { subscriber, what, state, time_ms, text, times, failures } = record.clone();
    v1::Notified { subscriber, what, state: state.as_str().to_owned(), text, time_ms, times, failures }
}
