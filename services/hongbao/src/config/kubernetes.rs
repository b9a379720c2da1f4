//! Variables that Kubernetes puts into each container for a Service, by the Service's
//! name: of a Service `hongbao-gateway` they begin with `HONGBAO_GATEWAY_`, as settings do.
//!
//! They are known by the whole shape of name and value, so that a setting that is
//! misspelt is not taken for one of them: a single `_` between words, where a setting
//! of a section has two, and an address, port or protocol as Kubernetes writes it
//! (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).

use std::net::{IpAddr, SocketAddr};

/// Protocols of a Service's ports, as URLs begin with them.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Whether Kubernetes has set this variable for a Service. `key` is what follows
/// `HONGBAO_` in its name: of a Service `hongbao` that is `PORT`, for example.
pub fn is_of_service(key: &str, value: &str) -> bool {
    let words: Vec<&str> = key.split('_').collect();
    let is_word =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    words.iter().all(is_word) && (0..words.len()).any(|name_words| means(&words[name_words..], value))
}

/// The same of what follows the Service's name.
fn means(words: &[&str], value: &str) -> bool {
    match words {
        ["SERVICE", "HOST"] => value.parse::<IpAddr>().is_ok(),
        // Also for a port that has a name: `HONGBAO_SERVICE_PORT_HTTP`.
        ["SERVICE", "PORT", ..] => port_of(value).is_some(),
        ["PORT"] => place_of(value).is_some(),
        ["PORT", port, protocol, rest @ ..] => {
            let protocol = protocol.to_ascii_lowercase();
            let Some(port) = port_of(port).filter(|_| PROTOCOLS.contains(&protocol.as_str())) else { return false };
            match rest {
                [] => place_of(value).is_some_and(|(of, address)| of == protocol && address.port() == port),
                ["PROTO"] => value == protocol,
                ["PORT"] => port_of(value) == Some(port),
                ["ADDR"] => value.parse::<IpAddr>().is_ok(),
                _ => false,
            }
        }
        _ => false,
    }
}

/// `tcp://10.0.0.1:8080`: its protocol and address.
fn place_of(url: &str) -> Option<(&str, SocketAddr)> {
    let (protocol, address) = url.split_once("://")?;
    let address: SocketAddr = address.parse().ok()?;
    (PROTOCOLS.contains(&protocol) && address.port() != 0).then_some((protocol, address))
}

/// A port, written as Kubernetes does: digits alone, the first not 0.
fn port_of(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok()?;
    (port != 0 && text == port.to_string()).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_for_services_is_known_by_name_and_value() {
        for name in ["", "SERVICE_", "GATEWAY_", "GATEWAY_2_", "SERVER_SET_A_", "PORT_", "WALLET_PORT_"] {
            for (rest, value) in [
                ("PORT", "tcp://10.96.0.7:8080"),
                ("PORT", "udp://10.96.0.7:8080"),
                ("PORT", "tcp://[fd00::7]:8080"),
                ("SERVICE_HOST", "10.96.0.7"),
                ("SERVICE_HOST", "fd00::7"),
                ("SERVICE_PORT", "8080"),
                ("SERVICE_PORT_HTTP", "8080"),
                ("SERVICE_PORT_HTTP_METRICS", "65535"),
                ("PORT_8080_TCP", "tcp://10.96.0.7:8080"),
                ("PORT_8080_SCTP", "sctp://[fd00::7]:8080"),
                ("PORT_8080_TCP_PROTO", "tcp"),
                ("PORT_53_UDP_PROTO", "udp"),
                ("PORT_8080_TCP_PORT", "8080"),
                ("PORT_8080_TCP_ADDR", "10.96.0.7"),
                ("PORT_8080_TCP_ADDR", "fd00::7"),
            ] {
                assert!(is_of_service(&format!("{name}{rest}"), value), "{name}{rest}={value}");
            }
        }
    }

    #[test]
    fn whatever_differs_from_it_in_name_or_value_is_a_setting() {
        for (key, value) in [
            ("PORT", "8080"),
            ("PORT", ""),
            ("PORT", "10.96.0.7:8080"),
            ("PORT", "http://10.96.0.7:8080"),
            ("PORT", "tcp://10.96.0.7"),
            ("PORT", "tcp://10.96.0.7:0"),
            ("PORT", "tcp://10.96.0.7:8080/"),
            ("PORT", "tcp://gateway:8080"),
            ("PORTS", "tcp://10.96.0.7:8080"),
            ("port", "tcp://10.96.0.7:8080"),
            ("LISTEN", "tcp://10.96.0.7:8080"),
            ("LISTEN_PORT", "8080"),
            ("HTTP__PORT", "tcp://10.96.0.7:8080"),
            ("SERVER__PORT", "8080"),
            ("_PORT", "tcp://10.96.0.7:8080"),
            ("PORT_", "tcp://10.96.0.7:8080"),
            ("HOST", "10.96.0.7"),
            ("SERVICE_HOST", "gateway"),
            ("SERVICE_HOST", ""),
            ("SERVICE__HOST", "10.96.0.7"),
            ("SERVICE_PORT", "0"),
            ("SERVICE_PORT", "+8080"),
            ("SERVICE_PORT", "08080"),
            ("SERVICE_PORT", "65536"),
            ("SERVICE_PORT_http", "8080"),
            ("SERVICES_PORT", "8080"),
            ("SERVER_HOST", "10.96.0.7"),
            ("PORT_8080_TCP", "tcp://10.96.0.7:8081"),
            ("PORT_8080_TCP", "udp://10.96.0.7:8080"),
            ("PORT_8080_HTTP", "http://10.96.0.7:8080"),
            ("PORT_8080", "tcp://10.96.0.7:8080"),
            ("PORT_8080_TCP_PROTO", "udp"),
            ("PORT_8080_TCP_PORT", "8081"),
            ("PORT_8080_TCP_ADDR", "10.96.0.7:8080"),
            ("PORT_8080_TCP_ADDRESS", "10.96.0.7"),
            ("PORT_HTTP_TCP_PORT", "8080"),
        ] {
            assert!(!is_of_service(key, value), "{key}={value}");
        }
    }
}
