//! Where nodes are, and which of them to ask next.

use std::fmt;
use std::time::Duration;

use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;

/// Window of a stream and of a connection: the default of 64 KiB costs up to half of the throughput of a batched stream.
const WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// How often a silent connection is probed, and how long the probe may take: a dead peer shows within 15 s.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The address of a node in the form `http://host:port`. Valid once it exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(String);

/// Why a text is not the address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a node ({cause}): write host:port or http://host:port")]
pub(crate) struct BadAddress {
    pub(crate) text: String,
    pub(crate) cause: &'static str,
}

impl Address {
    /// Reads `host:port` or `http://host:port`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadAddress> {
        let bad = |cause| BadAddress { text: text.to_owned(), cause };
        let trimmed = text.trim().trim_end_matches('/');
        let full = if trimmed.contains("://") { trimmed.to_owned() } else { format!("http://{trimmed}") };
        let uri: Uri = full.parse().map_err(|_| bad("it cannot be read as a URI"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("this release speaks no TLS to nodes")),
            Some(_) | None => return Err(bad("its scheme is not http")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it has no host"));
        }
        if uri.port_u16().is_none() {
            return Err(bad("it has no port"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("it has a path"));
        }
        Ok(Self(full))
    }

    /// The settings of a connection to this node.
    pub(crate) fn endpoint(&self, connect_timeout: Duration) -> Endpoint {
        Endpoint::from_shared(self.0.clone())
            .expect("an address is a valid URI")
            .connect_timeout(connect_timeout)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIMEOUT)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The nodes that were named, the one that works, and where the leader was last said to be.
///
/// - DIR-1: the list is not empty, so there is always somebody to ask.
/// - DIR-2: a hint is believed until it fails; then the list takes over again.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    nodes: Vec<Address>,
    current: usize,
    hint: Option<Address>,
}

impl Directory {
    /// A directory of these nodes; none when there are none.
    pub(crate) fn new(nodes: Vec<Address>) -> Option<Self> {
        if nodes.is_empty() { None } else { Some(Self { nodes, current: 0, hint: None }) }
    }

    pub(crate) fn nodes(&self) -> &[Address] {
        &self.nodes
    }

    /// Whom to ask now.
    pub(crate) fn target(&self) -> &Address {
        self.hint.as_ref().unwrap_or(&self.nodes[self.current])
    }

    /// `address` did not serve: whoever asks next asks another one. Said of a former target it changes nothing, so that
    /// many calls that failed at once turn the list by one.
    pub(crate) fn failed(&mut self, address: &Address) {
        if self.target() != address {
            return;
        }
        self.hint = None;
        if &self.nodes[self.current] == address {
            self.current = (self.current + 1) % self.nodes.len();
        }
    }

    /// Follows a hint given by `teller`, and says whether it leads anywhere else.
    pub(crate) fn follow(&mut self, teller: &Address, leader: &str) -> bool {
        match Address::parse(leader) {
            Ok(leader) if &leader != teller => {
                match self.nodes.iter().position(|node| node == &leader) {
                    Some(position) => (self.current, self.hint) = (position, None),
                    None => self.hint = Some(leader),
                }
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

/// Reads a list of endpoints.
pub(crate) fn parse_all<T: AsRef<str>>(endpoints: &[T]) -> Result<Vec<Address>, BadAddress> {
    endpoints.iter().map(|endpoint| Address::parse(endpoint.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn reads_addresses_with_and_without_a_scheme() {
        for text in ["a:1", "http://a:1", " http://a:1/ "] {
            assert_eq!(address(text).to_string(), "http://a:1", "{text}");
        }
        assert_eq!(address("[::1]:7400").to_string(), "http://[::1]:7400");
    }

    #[test]
    fn refuses_what_is_not_the_address_of_a_node() {
        for text in ["", "a", "a:", "https://a:1", "ftp://a:1", "a:1/path", "a b:1", ":7400"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn turns_by_one_however_many_calls_failed_at_one_node() {
        let mut directory = Directory::new(vec![address("a:1"), address("b:1")]).unwrap();
        directory.failed(&address("a:1"));
        directory.failed(&address("a:1"));
        assert_eq!(directory.target(), &address("b:1"));
        directory.failed(&address("b:1"));
        assert_eq!(directory.target(), &address("a:1"));
    }

    #[test]
    fn believes_a_hint_until_it_fails() {
        let mut directory = Directory::new(vec![address("a:1"), address("b:1")]).unwrap();
        assert!(directory.follow(&address("a:1"), "c:1"));
        assert_eq!(directory.target(), &address("c:1"));
        directory.failed(&address("c:1"));
        assert_eq!(directory.target(), &address("a:1"));
        assert!(directory.follow(&address("a:1"), "b:1"));
        assert_eq!(directory.target(), &address("b:1"));
    }

    #[test]
    fn a_hint_to_the_teller_or_to_nowhere_leads_nowhere() {
        let mut directory = Directory::new(vec![address("a:1"), address("b:1")]).unwrap();
        assert!(!directory.follow(&address("a:1"), "http://a:1"));
        assert!(!directory.follow(&address("a:1"), ""));
        assert_eq!(directory.target(), &address("a:1"));
    }
}
