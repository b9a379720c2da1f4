//! Where a process is reached: a name or an IP address, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `a1.example:9000`, `10.0.0.1:9000` or `[::1]:9000`. Names are compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

impl Address {
    /// The address, where no name has to be resolved for it.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// The name or the IP address alone, without brackets: what a certificate is for.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this host can reach it, as far as that is known without resolving a name.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
            Host::Name(name) => name == "localhost",
        }
    }
}

/// As RFC 1123 has it, and underscores, which container networks allow.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        (1..=63).contains(&label.len()) && allowed && !label.starts_with('-') && !label.ends_with('-')
    };
    // A last label of digits alone is that of an IP address, here of none that is whole.
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Address::from(address));
        }
        let named = text.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
        match named {
            Some((name, port)) if is_name(name) => Ok(Address { host: Host::Name(name.to_ascii_lowercase()), port }),
            _ => Err(format!("{text:?} is not a name or an IP address with a port, like \"a1.example:9000\"")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ip_addresses_with_a_port_are_addresses_and_are_written_as_they_are_read() {
        for (text, written, host, is_ip) in [
            ("127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", true),
            ("[::1]:9000", "[::1]:9000", "::1", true),
            ("localhost:9000", "localhost:9000", "localhost", false),
            ("A1.Pay.example:65535", "a1.pay.example:65535", "a1.pay.example", false),
            ("set_a-server:1", "set_a-server:1", "set_a-server", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string(), address.host()), (written.to_owned(), host.to_owned()));
            assert_eq!(address.socket_address().is_some(), is_ip, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_text() {
        let long = format!("{}:9000", ["a"; 128].join("."));
        let label = format!("{}:9000", "a".repeat(64));
        for text in [
            "",
            "a",
            ":9000",
            "a:",
            "a:b",
            "a:65536",
            "a b:9000",
            "a..b:9000",
            ".a:9000",
            "-a:9000",
            "a-:9000",
            "http://a:9000",
            "10.0.0:9000",
            "10.0.0.256:9000",
            "::1:9000",
            "a/b:9000",
            "ä:9000",
            &long,
            &label,
        ] {
            let reason = text.parse::<Address>().unwrap_err();
            assert!(reason.starts_with(&format!("{text:?} is not a name or an IP address with a port")), "{reason}");
        }
    }

    #[test]
    fn loopback_is_known_of_addresses_and_of_localhost() {
        for (text, is_loopback) in [
            ("127.0.0.2:80", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("LOCALHOST:80", true),
            ("10.0.0.1:80", false),
            ("localhost.example:80", false),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().is_loopback(), is_loopback, "{text}");
        }
    }
}
