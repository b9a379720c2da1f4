//! Where a service is reached: by which name, at which addresses, with TLS or without.

use std::fmt;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::error::Fallible;
use crate::tls::{Tls, TlsClient};

/// An address as a person writes it: `https://pay.example`, `http://pay.example:8080`, `10.0.1.5:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    is_tls: bool,
    /// A name or an IP address, without brackets.
    host: String,
    port: u16,
    /// Whether a client that is given this address names the port in `Host`.
    shows_port: bool,
}

/// A connection to this name and port goes to that address instead of where DNS says: `NAME:PORT:ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: std::net::IpAddr,
}

/// Where a service is reached. Connections are spread over its addresses.
#[derive(Clone)]
pub struct Site {
    addrs: Arc<[SocketAddr]>,
    authority: Arc<str>,
    tls: Option<TlsClient>,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        const EXPECTED: &str = "write https://name, http://name:port or address:port";
        let refused = |why: &str| format!("{why}: {EXPECTED}");
        let uri: Uri = text.parse().map_err(|_| refused("not an address"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") | None => false,
            Some(_) => return Err(refused("neither http nor https")),
        };
        let authority = uri.authority().ok_or_else(|| refused("no name and no address"))?;
        if authority.as_str().contains('@') {
            return Err(refused("a user has no place in it"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refused("a path has no place in it"));
        }
        let port = authority.port_u16();
        if port.is_none() && uri.scheme().is_none() {
            return Err(refused("no port"));
        }
        let usual = if is_tls { 443 } else { 80 };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let shows_port = port.is_some_and(|port| port != usual);
        Ok(Url { is_tls, host, port: port.unwrap_or(usual), shows_port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_tls { "https://" } else { "http://" }, self.authority())
    }
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Resolve, String> {
        let parts: Vec<&str> = text.splitn(3, ':').collect();
        let [host, port, address] = parts[..] else { return Err("write NAME:PORT:ADDRESS".to_owned()) };
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let address = address.parse().map_err(|_| format!("{address:?} is no IP address"))?;
        Ok(Resolve { host: host.to_owned(), port, address })
    }
}

impl Url {
    /// What stands in `Host`.
    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.shows_port { format!("{host}:{}", self.port) } else { host }
    }

    /// Looks its name up, in what `resolves` says or else where the system looks (`/etc/hosts`, DNS), and keeps
    /// the addresses that accept a connection `within` this time.
    ///
    /// # Errors
    /// When there are none, with what each of them said.
    pub fn reach(&self, resolves: &[Resolve], tls: &Tls, within: Duration) -> Fallible<Site> {
        let fixed = resolves.iter().find(|resolve| resolve.port == self.port && resolve.host == self.host);
        let addrs = match fixed {
            Some(resolve) => vec![SocketAddr::new(resolve.address, self.port)],
            None => look_up(&self.host, self.port, within)?,
        };
        let tries: Vec<_> = std::thread::scope(|scope| {
            let tries = addrs.iter().map(|addr| scope.spawn(|| TcpStream::connect_timeout(addr, within)));
            let tries: Vec<_> = tries.collect();
            tries.into_iter().map(|one| one.join().expect("to connect does not panic")).collect()
        });
        let (mut reached, mut refusals) = (Vec::new(), Vec::new());
        for (addr, tried) in addrs.iter().zip(tries) {
            match tried {
                Ok(_) => reached.push(*addr),
                Err(error) => refusals.push(format!("{addr}: {error}")),
            }
        }
        if reached.is_empty() {
            return Err(refusals.join("; ").into());
        }
        let tls = self.is_tls.then(|| tls.client(&self.host)).transpose()?;
        Ok(Site { addrs: reached.into(), authority: self.authority().into(), tls })
    }
}

/// The addresses of a name. The system may take long to say that it finds none.
fn look_up(host: &str, port: u16, within: Duration) -> Fallible<Vec<SocketAddr>> {
    let (to, found) = std::sync::mpsc::sync_channel(1);
    let name = host.to_owned();
    std::thread::spawn(move || {
        // Fails if the answer comes too late, when the receiver is gone.
        let _ = to.send((name.as_str(), port).to_socket_addrs().map(Vec::from_iter));
    });
    let found = found.recv_timeout(within).map_err(|_| format!("no name service says where {host} is"))?;
    let mut addrs = found.map_err(|error| format!("{host}: {error}"))?;
    addrs.sort_unstable();
    addrs.dedup();
    if addrs.is_empty() { Err(format!("{host} has no address").into()) } else { Ok(addrs) }
}

impl Site {
    /// Where the connection of this number goes.
    pub fn addr(&self, number: usize) -> SocketAddr {
        self.addrs[number % self.addrs.len()]
    }

    /// What stands in `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What begins TLS, if that is spoken.
    pub fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }
}

/// A service of this machine, without TLS.
impl From<SocketAddr> for Site {
    fn from(addr: SocketAddr) -> Site {
        Site { addrs: [addr].into(), authority: addr.to_string().into(), tls: None }
    }
}

impl From<&Site> for Site {
    fn from(site: &Site) -> Site {
        site.clone()
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.tls.is_some() { "https://" } else { "http://" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(2);

    #[test]
    fn an_address_is_read_as_it_is_written_and_what_has_no_place_in_it_is_refused() {
        let read =
            |text: &str| text.parse::<Url>().map(|url| (url.is_tls, url.authority(), url.host.clone(), url.port));
        let of = |is_tls, authority: &str, host: &str, port| Ok((is_tls, authority.to_owned(), host.to_owned(), port));
        assert_eq!(read("https://pay.example"), of(true, "pay.example", "pay.example", 443));
        assert_eq!(read("https://pay.example:8443/"), of(true, "pay.example:8443", "pay.example", 8_443));
        assert_eq!(read("http://pay.example"), of(false, "pay.example", "pay.example", 80));
        assert_eq!(read("https://pay.example:443"), of(true, "pay.example", "pay.example", 443));
        assert_eq!(read("10.0.1.5:8080"), of(false, "10.0.1.5:8080", "10.0.1.5", 8_080));
        assert_eq!(read("http://[::1]:8080"), of(false, "[::1]:8080", "::1", 8_080));
        for (text, why) in [
            ("pay.example", "no port"),
            ("ftp://pay.example", "neither http nor https"),
            ("https://pay.example/v1", "a path has no place"),
            ("https://me@pay.example", "a user has no place"),
            ("https://", "not an address"),
            ("/readyz", "no name and no address"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.starts_with(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_name_leads_where_it_is_said_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let url: Url = format!("http://pay.example:{}", addr.port()).parse().unwrap();
        let resolve: Resolve = format!("pay.example:{}:127.0.0.1", addr.port()).parse().unwrap();
        let site = url.reach(&[resolve], &Tls::default(), WITHIN).unwrap();
        assert_eq!((site.addr(0), site.addr(7)), (addr, addr));
        assert_eq!(site.to_string(), format!("http://pay.example:{}", addr.port()));
        let url: Url = format!("localhost:{}", addr.port()).parse().unwrap();
        let site = url.reach(&[], &Tls::default(), WITHIN).unwrap();
        assert_eq!(site.addr(1), addr, "one that listens on IPv4 alone is found, too");
        for bad in ["pay.example:443", "pay.example:x:127.0.0.1", "pay.example:443:pay.example"] {
            assert!(bad.parse::<Resolve>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_refuses_or_does_not_exist_is_said() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let said = |text: String| match text.parse::<Url>().unwrap().reach(&[], &Tls::default(), WITHIN) {
            Err(error) => error.to_string(),
            Ok(site) => panic!("{site} was reached"),
        };
        assert!(said(free.to_string()).contains("refused"));
        assert!(said("no-such-name.invalid:80".to_owned()).contains("no-such-name.invalid"));
    }
}
