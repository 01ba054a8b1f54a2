//! What clients may ask the control thread, and its answers: plain values.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::dpdk::{Link, Mbufs, PortStats, arguments};
use dataplane::pipeline::Shared;
use ipnet::IpNet;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::examples::Examples;
use super::{Control, LATE_ALARM, Order, Reload};
use crate::actions::bgp::Report;
use crate::actions::mitigator;
use crate::actions::notify::report::OfSubscriber;
use crate::attack::{Rates, Target, Volumes};
use crate::baseline::Fill;
use crate::by_hand::Pause;
use crate::group::Group;
use crate::interface::Counters;
use crate::meter::{self, HostRates, Smooth, SumRates};
use crate::mitigation::Standing;
use crate::record::{AttackRecord, EngineRecord, FlowSpec, RuleRecord};
use crate::samples;
use crate::search::{Place, Search};

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<T>;

/// What a client may ask.
#[derive(Debug)]
pub enum Request {
    /// The state of everything.
    Status {
        /// Also which rules engines hold.
        in_full: bool,
        /// Where to.
        reply: Reply<StatusAnswer>,
    },
    /// The busiest hosts.
    Hosts {
        /// At most so many.
        limit: usize,
        /// Busiest by this.
        order: meter::Order,
        /// Only hosts in it.
        prefix: Option<IpNet>,
        /// Where to.
        reply: Reply<HostsAnswer>,
    },
    /// Rates of networks, of host groups and of the whole box.
    Totals(Reply<TotalsAnswer>),
    /// The host groups as they are in force.
    Groups(Reply<Arc<[Group]>>),
    /// Attacks alive, and the latest that are over, the newest first.
    Attacks {
        /// Which.
        search: Search,
        /// Where to.
        reply: Reply<Vec<Answered>>,
    },
    /// Opens an attack by hand.
    Ban {
        /// On what.
        target: Target,
        /// For how long (0: until it ends by itself), why, who.
        order: Order,
        /// The attack, or why there is none.
        reply: Reply<Result<Uuid, String>>,
    },
    /// Ends every attack on a host.
    Unban {
        /// Which host.
        host: IpNet,
        /// Why, who.
        order: Order,
        /// The attacks that were ended.
        reply: Reply<Vec<Uuid>>,
    },
    /// Wants a rule by hand.
    AddRule {
        /// The rule.
        flow_spec: Box<FlowSpec>,
        /// For how long (0: until it is removed), why, who.
        order: Order,
        /// The attack that it hangs on, or why there is none.
        reply: Reply<Result<Answered, String>>,
    },
    /// Takes a rule by hand back.
    RemoveRule {
        /// Its id, or its attack's, or the beginning of either.
        id: String,
        /// Why, who.
        order: Order,
        /// The attack that it hung on, or why there is none.
        reply: Reply<Result<AttackRecord, String>>,
    },
    /// Lets outside systems stay exactly as they are.
    Pause {
        /// For how long (0: until a person says so), why, who.
        order: Order,
        /// The pause.
        reply: Reply<Pause>,
    },
    /// Has engines give up all that is ours, and keeps it so.
    WithdrawAll {
        /// Why, who.
        order: Order,
        /// The pause that it is.
        reply: Reply<Pause>,
    },
    /// Lets actions go on.
    Resume {
        /// Why, who.
        order: Order,
        /// The pause that is over; none: there was none.
        reply: Reply<Option<Pause>>,
    },
    /// Goes over to another configuration.
    Reload {
        /// The configuration.
        reload: Box<Reload>,
        /// What writes samples no more.
        reply: Reply<Option<samples::Handle>>,
    },
    /// Ends the control thread.
    Stop,
}

/// An attack, with what became of each of its rules, in the order of the record.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The record.
    pub record: Arc<AttackRecord>,
    /// One for each rule; `None` for a withdrawn one.
    pub standing: Vec<Option<Standing>>,
}

/// A port.
#[derive(Clone, Debug)]
pub struct PortAnswer {
    /// As configured.
    pub device: String,
    /// DPDK's driver.
    pub driver: String,
    /// Its link.
    pub link: Link,
    /// Receive queues.
    pub queues: usize,
    /// Its counters.
    pub stats: PortStats,
    /// Its mbufs.
    pub mbufs: Mbufs,
    /// What the kernel counted, where the port receives from one of its interfaces.
    pub kernel: Option<Counters>,
    /// MAC address.
    pub mac: String,
}

/// The state of everything.
#[derive(Debug)]
pub struct StatusAnswer {
    /// Start of the daemon, wall-clock milliseconds.
    pub started_ms: i64,
    /// Whether nothing is announced.
    pub dry_run: bool,
    /// The pause of all actions, if there is one.
    pub pause: Option<Pause>,
    /// Ports.
    pub ports: Vec<PortAnswer>,
    /// Workers, with their queues as "device/queue".
    pub workers: Vec<(Arc<Shared>, Vec<String>)>,
    /// Engines.
    pub engines: Vec<Report>,
    /// The rules that attacks ask for, with the engines that hold them; empty where nobody asked.
    pub specs: BTreeMap<Uuid, (FlowSpec, Vec<EngineRecord>)>,
    /// The MITIGATOR, where there is one.
    pub mitigator: Option<mitigator::Report>,
    /// Scripts and webhooks.
    pub subscribers: Vec<OfSubscriber>,
    /// Notices that found no place in the outbox.
    pub notices_lost: u64,
    /// Attacks alive.
    pub attacks: usize,
    /// Rules wanted.
    pub rules: usize,
    /// Protected networks.
    pub networks: usize,
    /// How full the baseline is.
    pub baseline: Fill,
    /// What an operator should look at.
    pub alarms: Vec<String>,
    /// Frames that could not be parsed.
    pub examples: Examples,
}

/// A host.
#[derive(Clone, Debug)]
pub struct HostAnswer {
    /// Which host.
    pub host: IpNet,
    /// Its group.
    pub group: Arc<str>,
    /// Its protected network.
    pub network: Option<IpNet>,
    /// Its rates.
    pub rates: HostRates,
    /// Its flows a second, incoming and outgoing; 0 where flows are not counted.
    pub flows: [f64; 2],
    /// What was counted for it, incoming and outgoing; `None` where that is not known.
    pub counted: Option<[Volumes; 2]>,
    /// Whether an attack on it is alive.
    pub under_attack: bool,
}

/// The busiest hosts.
#[derive(Clone, Debug)]
pub struct HostsAnswer {
    /// Busiest first.
    pub hosts: Vec<HostAnswer>,
    /// Hosts with traffic within the last seconds.
    pub active: u64,
}

/// Rates of networks.
#[derive(Debug)]
pub struct TotalsAnswer {
    /// Workers, for what was counted since the start.
    pub workers: Vec<Arc<Shared>>,
    /// Each protected network, its group, and its rates.
    pub networks: Vec<(IpNet, Arc<str>, SumRates)>,
    /// Each host group and its rates.
    pub groups: Vec<(Arc<str>, SumRates)>,
}

impl From<AttackRecord> for Answered {
    /// For an attack that is over: none of its rules stands.
    fn from(record: AttackRecord) -> Answered {
        Answered { standing: vec![None; record.rules.len()], record: Arc::new(record) }
    }
}

impl From<&Smooth> for Rates {
    fn from(smooth: &Smooth) -> Rates {
        use dataplane::packet::Class;
        let rate = |(pps, bps): (f64, f64)| crate::attack::Rate { pps, bps };
        Rates {
            total: rate(smooth.of(&Class::ALL)),
            tcp: rate(smooth.of(&[Class::Tcp, Class::TcpSyn])),
            tcp_syn: rate(smooth.of(&[Class::TcpSyn])),
            udp: rate(smooth.of(&[Class::Udp])),
            icmp: rate(smooth.of(&[Class::Icmp])),
            fragments: rate(smooth.fragments()),
            flows: 0.0,
        }
    }
}

impl Control {
    /// Answers a client. One that has gone away is no error.
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status { in_full, reply } => drop(reply.send(self.status(in_full))),
            Request::Hosts { limit, order, prefix, reply } => drop(reply.send(self.hosts(limit, order, prefix))),
            Request::Totals(reply) => drop(reply.send(self.totals())),
            Request::Groups(reply) => drop(reply.send(self.meter.map().groups())),
            Request::Attacks { search, reply } => drop(reply.send(self.attacks(&search))),
            Request::Ban { target, order, reply } => drop(reply.send(self.ban(target, &order))),
            Request::Unban { host, order, reply } => drop(reply.send(self.unban(host, &order))),
            Request::AddRule { flow_spec, order, reply } => drop(reply.send(self.add_rule(*flow_spec, &order))),
            Request::RemoveRule { id, order, reply } => drop(reply.send(self.remove_rule(&id, &order))),
            Request::Pause { order, reply } => drop(reply.send(self.pause(&order))),
            Request::WithdrawAll { order, reply } => drop(reply.send(self.withdraw_all(&order))),
            Request::Resume { order, reply } => drop(reply.send(self.resume(&order))),
            Request::Reload { reload, reply } => drop(reply.send(self.reload(*reload))),
            Request::Stop => {}
        }
    }

    fn status(&self, in_full: bool) -> StatusAnswer {
        let ports = self.dataplane.ports();
        let asked = self.detector.attacks().filter(|_| in_full).flat_map(AttackRecord::wanted_rules);
        StatusAnswer {
            started_ms: self.started_ms,
            dry_run: self.settings.limits.dry_run,
            pause: self.paused.as_ref().map(|paused| paused.pause.clone()),
            ports: ports
                .iter()
                .enumerate()
                .map(|(place, port)| PortAnswer {
                    device: port.device().to_owned(),
                    driver: port.driver().to_owned(),
                    link: Link { up: port.link().up && self.health.has_link(place), ..port.link() },
                    queues: port.queues(),
                    stats: port.stats(),
                    mbufs: port.mbufs(),
                    kernel: self.health.kernel(place),
                    mac: port.mac(),
                })
                .collect(),
            workers: self
                .dataplane
                .workers()
                .map(|(shared, queues)| {
                    let name = |(port, queue): &(usize, u16)| {
                        let device = ports[*port].device();
                        format!("{}/{queue}", arguments::name(device))
                    };
                    (Arc::clone(shared), queues.iter().map(name).collect())
                })
                .collect(),
            engines: self.reports.iter().map(|report| report.borrow().clone()).collect(),
            specs: asked.map(|rule| (rule.id, (rule.flow_spec.clone(), rule.engines.clone()))).collect(),
            mitigator: self.mitigator.report(),
            subscribers: self.notify.report(),
            notices_lost: self.notify.lost(),
            attacks: self.detector.attacks().count(),
            rules: self.wanted_rules,
            networks: self.meter.map().networks_count(),
            baseline: self.baseline.fill(),
            alarms: self.alarms(),
            examples: self.examples.clone(),
        }
    }

    /// What an operator should look at, in words.
    pub(super) fn alarms(&self) -> Vec<String> {
        let mut alarms: Vec<String> = self.pause_alarm().into_iter().collect();
        alarms.extend(self.store.alarms());
        alarms.extend(self.plan_alarms.iter().cloned());
        alarms.extend(self.samples.as_ref().and_then(samples::Handle::alarm));
        alarms.extend(self.health.alarms().cloned());
        alarms.extend(self.reports.iter().flat_map(|report| report.borrow().alarms()));
        if let Some(report) = self.mitigator.report() {
            let is_new = report.error.is_none() && !report.connected;
            let why = if is_new { Some("not reached yet".to_owned()) } else { report.error };
            alarms.extend(why.map(|why| format!("MITIGATOR: {why}")));
            alarms.extend(report.alarms);
        }
        alarms.extend(self.notify.alarms());
        if self.watching.crowded_out() > 0 {
            alarms.push(format!("{} hosts or rules are not watched: too many at once", self.watching.crowded_out()));
        }
        let waiting = self.detector.waiting();
        if waiting > 0 {
            let most = self.settings.captures_max;
            alarms.push(format!("{waiting} attacks wait for a capture: {most} are open (detection.captures_at_once)"));
        }
        let lost = self.detector.lost();
        if lost.attacks > 0 {
            alarms.push(format!("{} crossings opened no attack: raise detection.attacks_at_once", lost.attacks));
        }
        if lost.followed > 0 {
            alarms.push(format!("{} hosts over a threshold were not followed: too many at once", lost.followed));
        }
        let baseline = self.baseline.fill().lost;
        if baseline.hosts > 0 {
            alarms.push(format!("{} packets of the tap found too many hosts: these have no baseline", baseline.hosts));
        }
        for (shared, _) in self.dataplane.workers() {
            for lost in dataplane::stats::Lost::ALL {
                let count = shared.stats.lost[lost as usize].get();
                if count > 0 {
                    alarms.push(format!("worker {}: {count} times {}", shared.core, lost.name()));
                }
            }
        }
        for port in self.dataplane.ports() {
            alarms.extend(port.doubt().map(|doubt| format!("port {}: {doubt}", port.device())));
            let stats = port.stats();
            let lost = stats.missed + stats.errors + stats.no_mbuf;
            if lost > 0 {
                alarms.push(format!("port {}: {lost} packets lost or broken before a worker saw them", port.device()));
            }
        }
        if self.last_late.is_some_and(|late| late.elapsed() < LATE_ALARM) {
            alarms.push(format!("looks at the thresholds come late: {} since the start", self.ticks_late));
        }
        alarms
    }

    pub(super) fn hosts(&self, limit: usize, order: meter::Order, prefix: Option<IpNet>) -> HostsAnswer {
        let (hosts, active) = self.meter.busiest(order, limit, prefix);
        let map = self.meter.map();
        let attacked = |address: IpAddr| {
            let on_it = |record: &AttackRecord| !record.is_order && record.target.prefix.contains(&address);
            self.detector.attacks().any(|record| on_it(record) && record.state.is_alive())
        };
        let hosts = hosts
            .into_iter()
            .map(|(address, rates)| HostAnswer {
                host: map.host(address),
                group: Arc::clone(&map.group(address).name),
                network: map.network(address),
                rates,
                flows: self.meter.flows(address),
                counted: self.meter.counted(address),
                under_attack: attacked(address),
            })
            .collect();
        HostsAnswer { hosts, active }
    }

    fn totals(&self) -> TotalsAnswer {
        let map = self.meter.map();
        let networks = self.meter.networks().into_iter().map(|(network, rates)| {
            let group = Arc::clone(&map.group(network.addr()).name);
            (network, group, rates)
        });
        TotalsAnswer {
            workers: self.dataplane.workers().map(|(shared, _)| Arc::clone(shared)).collect(),
            networks: networks.collect(),
            groups: self.meter.groups(),
        }
    }

    fn attacks(&self, search: &Search) -> Vec<Answered> {
        let alive = self.detector.attacks().filter(|record| search.matches(record)).cloned().map(Arc::new);
        let ended = self.ended.iter().filter(|record| search.matches(record)).cloned();
        let mut records: Vec<Arc<AttackRecord>> = alive.chain(ended).collect();
        records.sort_by_key(|record| std::cmp::Reverse(Place::from(&**record)));
        records.truncate(search.limit);
        records.into_iter().map(|record| self.answered(record)).collect()
    }

    pub(super) fn answered(&self, record: Arc<AttackRecord>) -> Answered {
        let standing = |rule: &RuleRecord| match self.standing.get(&rule.id).filter(|_| rule.is_wanted()) {
            Some(Standing::Wanted) if self.paused.is_some() => Some(Standing::Paused),
            standing => standing.copied(),
        };
        let standing = record.rules.iter().map(standing).collect();
        Answered { record, standing }
    }
}
