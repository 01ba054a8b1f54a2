//! Attacks that are over, as clients search them. Reads beside the writer, over a connection of its own: in WAL mode neither
//! waits for the other.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::{Error, classify, parse};
use crate::record::AttackRecord;
use crate::search::Search;

/// How long a search waits where the file is locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The attacks on disk that are over.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(super) path: PathBuf,
}

impl Archive {
    /// Those in this file.
    pub fn new(path: PathBuf) -> Archive {
        Archive { path }
    }

    /// What is asked for, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn search(&self, search: &Search) -> Result<Vec<AttackRecord>, Error> {
        let rows = self.rows(search).map_err(|source| classify(&self.path, source))?;
        rows.iter().map(|json| parse(&self.path, json)).collect()
    }

    /// A connection for one reading.
    pub(super) fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    fn rows(&self, search: &Search) -> rusqlite::Result<Vec<String>> {
        let connection = self.open()?;
        let (query, values) = query(search);
        let mut statement = connection.prepare(&query)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        rows.collect()
    }
}

fn query(search: &Search) -> (String, Vec<Value>) {
    let mut query = "SELECT record FROM attacks WHERE alive = 0".to_owned();
    let mut values: Vec<Value> = Vec::new();
    if !search.id.is_empty() {
        // Behind the last of the digits and "-", of which ids are made.
        query += " AND id BETWEEN ? AND ?";
        values.extend([search.id.clone().into(), format!("{}g", search.id).into()]);
    }
    if let Some(host) = search.host {
        // Prefixes lie within each other or apart: a target begins within the host, or is one of those around it.
        let around: Vec<Value> = around(host).map(|network| network.to_string().into()).collect();
        query += &format!(" AND (first BETWEEN ? AND ? OR target IN ({}))", marks(around.len()));
        values.extend([first(host).into(), address(host.broadcast()).into()]);
        values.extend(around);
    }
    if let Some(since_ms) = search.since_ms {
        query += " AND ended_ms >= ?";
        values.push(since_ms.into());
    }
    if let Some(until_ms) = search.until_ms {
        query += " AND detected_ms < ?";
        values.push(until_ms.into());
    }
    if !search.kinds.is_empty() {
        query += &format!(" AND kind IN ({})", marks(search.kinds.len()));
        values.extend(search.kinds.iter().cloned().map(Value::from));
    }
    if let Some(after) = search.after {
        query += " AND (detected_ms, id) < (?, ?)";
        values.extend([after.detected_ms.into(), after.id.to_string().into()]);
    }
    query += " ORDER BY detected_ms DESC, id DESC LIMIT ?";
    values.push(i64::try_from(search.limit).unwrap_or(i64::MAX).into());
    (query, values)
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

fn around(host: IpNet) -> impl Iterator<Item = IpNet> {
    std::iter::successors(Some(host.trunc()), IpNet::supernet)
}

/// A prefix's first address in bytes that sort as addresses do, the families apart.
pub(super) fn first(prefix: IpNet) -> Vec<u8> {
    address(prefix.network())
}

fn address(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => [&[4][..], &address.octets()].concat(),
        std::net::IpAddr::V6(address) => [&[6][..], &address.octets()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::State;
    use crate::record::samples::attack;
    use crate::search::{BY_HAND, Place, kinds};
    use crate::store::Store;

    /// Attacks over on hosts and networks of both families, at different times, every third one by hand; some alive.
    fn records() -> Vec<AttackRecord> {
        let targets =
            ["198.18.0.7/32", "198.18.0.8/32", "198.18.0.0/24", "2001:db8::7/128", "2001:db8::/48", "198.18.1.0/32"];
        let over = (0..60).map(|n| {
            let mut record = attack(targets[n % targets.len()], State::Ended);
            record.detected_ms = 1_000 * (n as i64 / 2);
            record.ended_ms = Some(record.detected_ms + 5_000);
            record.crossing = record.crossing.filter(|_| n % 3 > 0);
            record
        });
        over.chain((0..3).map(|_| attack("198.18.0.7/32", State::Mitigating))).collect()
    }

    fn searches(of: &AttackRecord) -> Vec<Search> {
        let host = |text: &str| Search { host: Some(text.parse().unwrap()), ..Search::default() };
        vec![
            Search::default(),
            host("198.18.0.7/32"),
            host("198.18.0.0/23"),
            host("198.18.0.255/32"),
            host("2001:db8::7/128"),
            host("::/0"),
            host("0.0.0.0/0"),
            Search { since_ms: Some(12_000), until_ms: Some(20_000), ..Search::default() },
            Search { kinds: kinds("udp").unwrap(), ..Search::default() },
            Search { kinds: vec![BY_HAND.into()], until_ms: Some(9_000), ..host("198.18.0.0/24") },
            Search { id: of.id.to_string()[..30].into(), ..Search::default() },
            Search { after: Some(Place::from(of)), ..host("198.18.0.7/32") },
        ]
    }

    #[test]
    fn a_search_on_disk_finds_what_matches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let records = records();
        let mut store = Store::open(&path).unwrap();
        store.save(&records).unwrap();
        let archive = Archive::new(path);
        for search in searches(&records[30]) {
            for limit in [1, 7, 1000] {
                let search = Search { limit, ..search.clone() };
                let mut expected: Vec<_> = records
                    .iter()
                    .filter(|record| !record.state.is_alive() && search.matches(record))
                    .cloned()
                    .collect();
                assert!(!expected.is_empty(), "{search:?}");
                expected.sort_by_key(|record| std::cmp::Reverse(Place::from(record)));
                expected.truncate(limit);
                assert_eq!(archive.search(&search).unwrap(), expected, "{search:?}");
            }
        }
    }

    #[test]
    fn searches_go_by_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("levee.db");
        let records = records();
        let store = Store::open(&path).unwrap();
        for search in searches(&records[30]) {
            let (query, values) = query(&search);
            let mut explain = store.connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
            let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
            let steps: Vec<String> = steps.map(Result::unwrap).collect();
            assert!(steps.iter().all(|step| !step.starts_with("SCAN") || step.contains("INDEX")), "{query}: {steps:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let archive = Archive::new("/nowhere/levee.db".into());
        assert!(matches!(archive.search(&Search::default()), Err(Error::Sqlite { .. })));
    }
}
