//! The task that has letters delivered: knows what waits for whom, starts what may go, and says what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{sleep_until, timeout};
use tracing::{info, warn};
use uuid::Uuid;

use super::call::call;
use super::letter::Letter;
use super::post::{self, Posted};
use super::queue::Queue;
use super::report::{OfSubscriber, Outcome, Report};
use super::script::{self, Ended, Ran};
use super::settings::{Script, Subscriber, Template, Way, Webhook};
use super::{Told, webhook};
use crate::crash::{self, Step, When};
use crate::record::NotifiedState;

/// The first pause after a try in vain; doubled up to the webhook's bound.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// What is on its way when the daemon stops has this long.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// Nothing waits for a time: a look every so often does no harm.
const IDLE: Duration = Duration::from_secs(3600);

/// What came of a try.
enum Came {
    Ran(Ran),
    Posted(Posted),
}

/// One subscriber and what waits for it.
struct Desk {
    /// None: it is configured no more, and what is on its way is awaited.
    subscriber: Option<Subscriber>,
    queue: Queue,
    report: OfSubscriber,
    client: Option<reqwest::Client>,
}

pub(super) struct Courier {
    told: mpsc::UnboundedReceiver<Told>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    report: watch::Sender<Report>,
    desks: Vec<Desk>,
    tries: JoinSet<Came>,
    on_their_way: HashMap<Id, (String, Arc<Letter>)>,
    paused: bool,
    started: Instant,
}

fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Courier {
    pub(super) fn new(
        subscribers: &[Subscriber],
        told: mpsc::UnboundedReceiver<Told>,
        outcomes: mpsc::UnboundedSender<Outcome>,
        report: watch::Sender<Report>,
    ) -> Courier {
        let mut courier = Courier {
            told,
            outcomes,
            report,
            desks: Vec::new(),
            tries: JoinSet::new(),
            on_their_way: HashMap::new(),
            paused: false,
            started: Instant::now(),
        };
        courier.serve(subscribers);
        courier
    }

    /// Until it is told to stop.
    pub(super) async fn run(mut self) {
        loop {
            self.start_due();
            self.publish();
            let wake = self
                .desks
                .iter()
                .filter(|desk| !desk.is_held(self.paused))
                .filter_map(|desk| desk.queue.wake_ms())
                .min();
            // What may go already waits for a place, and a place comes by the end of something.
            let wake = wake.filter(|wake_ms| *wake_ms > self.now_ms()).map(Duration::from_millis);
            let wake = self.started + wake.unwrap_or_else(|| self.started.elapsed() + IDLE);
            tokio::select! {
                told = self.told.recv() => match told {
                    Some(Told::Letters(letters)) => letters.into_iter().for_each(|letter| self.take(letter)),
                    Some(Told::OnRecord(lanes)) => lanes.into_iter().for_each(|(name, lane)| self.close(&name, lane)),
                    Some(Told::Paused(paused)) => self.paused = paused,
                    Some(Told::Subscribers(subscribers)) => self.serve(&subscribers),
                    Some(Told::Stop) | None => break,
                },
                Some(ended) = self.tries.join_next_with_id() => self.ended(ended),
                () = sleep_until(wake.into()) => {}
            }
        }
        let rest = async {
            while let Some(ended) = self.tries.join_next_with_id().await {
                self.ended(ended);
            }
        };
        if timeout(STOP_WAIT, rest).await.is_err() {
            warn!(
                calls = self.tries.len(),
                "scripts and webhooks are not done: they are stopped, and told again at the next start"
            );
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// These, and no others. What waits for one that stays goes on.
    fn serve(&mut self, subscribers: &[Subscriber]) {
        let mut before: Vec<Desk> = std::mem::take(&mut self.desks);
        for subscriber in subscribers {
            let known = before.iter().position(|desk| desk.report.name == subscriber.name);
            let mut desk = known.map_or_else(|| Desk::new(subscriber), |index| before.swap_remove(index));
            if desk.subscriber.as_ref() != Some(subscriber) {
                desk.client = None;
                desk.report.place = subscriber.place();
                desk.subscriber = Some(subscriber.clone());
            }
            self.desks.push(desk);
        }
        for mut desk in before {
            desk.subscriber = None;
            desk.queue.drain().into_iter().for_each(|letter| self.give_up(&letter));
            if desk.queue.running() > 0 {
                self.desks.push(desk);
            }
        }
    }

    fn take(&mut self, letter: Arc<Letter>) {
        let is_its = |desk: &&mut Desk| desk.subscriber.is_some() && desk.report.name == letter.subscriber;
        match self.desks.iter_mut().find(is_its) {
            Some(desk) => desk.queue.push(letter),
            None => self.give_up(&letter),
        }
    }

    fn close(&mut self, name: &str, lane: IpNet) {
        if let Some(desk) = self.desks.iter_mut().find(|desk| desk.report.name == name) {
            desk.queue.close(lane);
        }
    }

    fn give_up(&self, letter: &Letter) {
        let text = "it is not configured any more".to_owned();
        drop(self.outcomes.send(Outcome::new(letter, NotifiedState::Failed, text, wall_ms())));
    }

    fn start_due(&mut self) {
        let (now_ms, paused) = (self.now_ms(), self.paused);
        for desk in &mut self.desks {
            let Some(subscriber) = desk.subscriber.clone().filter(|_| !desk.is_held(paused)) else { continue };
            while let Some(letter) = desk.queue.next(now_ms, subscriber.at_most) {
                let call = Arc::clone(&letter);
                let handle = match &subscriber.way {
                    Way::Script(script) => self.tries.spawn(run_script(script.clone(), call)),
                    Way::Webhook(webhook) => {
                        let client = match &desk.client {
                            Some(client) => Ok(client.clone()),
                            None => post::client(webhook),
                        };
                        desk.client = client.as_ref().ok().cloned();
                        self.tries.spawn(post_body(client, webhook.clone(), call))
                    }
                };
                self.on_their_way.insert(handle.id(), (subscriber.name.clone(), letter));
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, Came), tokio::task::JoinError>) {
        let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
        let Some((name, letter)) = self.on_their_way.remove(&id) else { return };
        let now_ms = self.now_ms();
        let Some(index) = self.desks.iter().position(|desk| desk.report.name == name) else { return };
        let desk = &mut self.desks[index];
        let settled = match ended {
            Ok((_, Came::Ran(ran))) => Some(desk.ran(&letter, &ran)),
            Ok((_, Came::Posted(posted))) => desk.posted(&letter, posted, now_ms),
            Err(error) => Some((NotifiedState::Failed, error.to_string())),
        };
        if let Some((state, text)) = settled {
            desk.queue.finish(letter.lane());
            desk.report.given_up += u64::from(state == NotifiedState::Failed);
            drop(self.outcomes.send(Outcome::new(&letter, state, text, wall_ms())));
        }
        if desk.subscriber.is_none() {
            desk.queue.drain().into_iter().for_each(|letter| self.give_up(&letter));
            self.desks.retain(|desk| desk.subscriber.is_some() || desk.queue.running() > 0);
        }
    }

    fn publish(&self) {
        let subscribers = self.desks.iter().filter(|desk| desk.subscriber.is_some());
        let report = Report { subscribers: subscribers.map(|desk| desk.report(self.paused)).collect() };
        self.report.send_if_modified(|known| {
            let is_news = *known != report;
            *known = report;
            is_news
        });
    }
}

impl Desk {
    fn new(subscriber: &Subscriber) -> Desk {
        Desk {
            subscriber: Some(subscriber.clone()),
            queue: Queue::default(),
            report: OfSubscriber::new(subscriber),
            client: None,
        }
    }

    /// Whether it waits for the end of a pause.
    fn is_held(&self, paused: bool) -> bool {
        paused && self.subscriber.as_ref().is_some_and(|subscriber| subscriber.acts)
    }

    fn report(&self, paused: bool) -> OfSubscriber {
        OfSubscriber {
            waiting: self.queue.waiting() as u64,
            running: self.queue.running() as u64,
            paused: self.is_held(paused),
            ..self.report.clone()
        }
    }

    /// A script has one try: what it did of its work, if it failed, nobody knows.
    fn ran(&mut self, letter: &Letter, ran: &Ran) -> (NotifiedState, String) {
        let (text, target) = (ran.in_words(), letter.lane());
        if ran.is_well() {
            self.report.well();
            info!(script = self.report.name, %target, action = letter.what(), output = ran.output, "{text}");
            return (NotifiedState::Delivered, text);
        }
        self.report.fail(&text, wall_ms());
        warn!(script = self.report.name, %target, action = letter.what(), output = ran.output, dropped = ran.dropped, "{text}");
        (NotifiedState::Failed, text)
    }

    /// What is settled; none: it is tried again.
    fn posted(&mut self, letter: &Letter, posted: Posted, now_ms: u64) -> Option<(NotifiedState, String)> {
        let wall_ms = wall_ms();
        match posted {
            Posted::Delivered(text) => {
                self.report.well();
                Some((NotifiedState::Delivered, text))
            }
            Posted::Refused(why) => {
                self.report.fail(&why, wall_ms);
                warn!(webhook = self.report.name, event = letter.what(), "refused: {why}");
                Some((NotifiedState::Failed, why))
            }
            Posted::NotNow { why, after } => {
                self.report.fail(&why, wall_ms);
                // Certificates may have changed; and so may addresses.
                self.client = None;
                let Some(Way::Webhook(webhook)) = self.subscriber.as_ref().map(|subscriber| &subscriber.way) else {
                    return Some((NotifiedState::Failed, why));
                };
                let age = Duration::from_millis((wall_ms - letter.notice.time_ms).max(0) as u64);
                if age >= webhook.give_up_after {
                    warn!(webhook = self.report.name, event = letter.what(), "given up: {why}");
                    return Some((NotifiedState::Failed, format!("given up after {} s: {why}", age.as_secs())));
                }
                let pause = self.pause(letter.lane(), webhook, after);
                warn!(webhook = self.report.name, event = letter.what(), again_s = pause.as_secs_f64(), "{why}");
                self.queue.try_again(letter.lane(), now_ms + pause.as_millis() as u64);
                None
            }
        }
    }

    fn pause(&self, lane: IpNet, webhook: &Webhook, after: Option<Duration>) -> Duration {
        back_off(self.queue.failures(lane), webhook.back_off_max, dice()).max(after.unwrap_or_default())
    }
}

/// The pause after so many tries in vain and one more: doubled each time up to a bound, and of that between half and all, so that what
/// failed together does not come back together.
fn back_off(failures: u32, most: Duration, dice: u8) -> Duration {
    let doubled = BACK_OFF_MIN.saturating_mul(1 << failures.min(16)).min(most);
    doubled / 2 + doubled / 2 * u32::from(dice) / 255
}

fn dice() -> u8 {
    Uuid::now_v7().as_bytes()[15]
}

async fn run_script(script: Script, letter: Arc<Letter>) -> Came {
    let Some(say) = letter.say else {
        return Came::Ran(Ran { ended: Ended::NotStarted("no call".into()), output: String::new(), dropped: 0 });
    };
    let call = call(script.layout, say, &letter.notice, script.report_packets);
    crash::point(Step::NotifyScript, When::Before);
    let ran = script::run(&script.path, &call.arguments, call.input, script.timeout).await;
    crash::point(Step::NotifyScript, When::After);
    Came::Ran(ran)
}

async fn post_body(client: Result<reqwest::Client, String>, settings: Webhook, letter: Arc<Letter>) -> Came {
    let body = match settings.template {
        Template::Levee => webhook::body(&letter.notice),
        Template::Slack => webhook::slack(&letter.notice),
    };
    Came::Posted(match client {
        Ok(client) => post::post(&client, &settings, &letter, body).await,
        Err(why) => Posted::NotNow { why, after: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_spread() {
        let most = Duration::from_secs(60);
        let seconds = |failures, dice| back_off(failures, most, dice).as_secs_f64();
        assert_eq!(
            (0..8).map(|failures| seconds(failures, 255)).collect::<Vec<_>>(),
            [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
        );
        assert_eq!((seconds(0, 0), seconds(9, 0), seconds(u32::MAX, 255)), (0.5, 30.0, 60.0));
    }
}
