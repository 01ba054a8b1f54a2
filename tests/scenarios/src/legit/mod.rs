//! Legitimate traffic of the kinds of hosts that are attacked, both directions.

mod endpoints;
mod scene;
mod servers;

use crate::packet::Packet;
use crate::random::Rng;
use crate::world::World;
use scene::Scene;

/// What the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legit {
    /// A web server, over TCP and QUIC.
    Web,
    /// An authoritative DNS server.
    Dns,
    /// A host that asks its resolver much: answers from port 53 are legitimate.
    Resolver,
    /// A game server, over UDP and TCP.
    Game,
    /// A mail server.
    Mail,
    /// A VPN gateway: ESP, its form in UDP, WireGuard, GRE.
    Vpn,
    /// A home connection.
    Home,
    /// A telephone server.
    Voip,
}

impl Legit {
    /// What tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Legit::Web => "web",
            Legit::Dns => "dns",
            Legit::Resolver => "resolver",
            Legit::Game => "game",
            Legit::Mail => "mail",
            Legit::Vpn => "vpn",
            Legit::Home => "home",
            Legit::Voip => "voip",
        }
    }

    /// Its traffic over so many seconds, in order of time from 0.
    pub fn traffic(self, world: &World, rng: Rng, seconds: f64) -> Vec<Packet> {
        let mut scene = Scene::new(world, rng, seconds);
        match self {
            Legit::Web => servers::web(&mut scene),
            Legit::Dns => servers::dns(&mut scene),
            Legit::Game => servers::game(&mut scene),
            Legit::Mail => servers::mail(&mut scene),
            Legit::Resolver => endpoints::resolver_user(&mut scene),
            Legit::Vpn => endpoints::vpn(&mut scene),
            Legit::Home => endpoints::home(&mut scene),
            Legit::Voip => endpoints::voip(&mut scene),
        }
        scene.finish()
    }
}
