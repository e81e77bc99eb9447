//! Networks that an API key may be used from.
//!
//! An IPv4 address is compared as one, however it was written: `::ffff:10.0.0.1` is 10.0.0.1, for networks and callers alike. So `::/0` is
//! every IPv6 address and no IPv4 address.

use std::net::IpAddr;

use ipnet::IpNet;

/// Characters of a network, at most: an IPv6 address with an IPv4 address in it, and its prefix.
const MAX_NETWORK_CHARACTERS: usize = 49;

/// Why a text is no network; goes on from the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// Neither an address nor a network.
    #[error("is no address and no network such as 10.0.0.0/8 or 2001:db8::/32")]
    Malformed,
    /// An address in a network, which may be meant as the one or as the other.
    #[error("has bits beyond its prefix: write {network} for the network, or {address} for the address alone")]
    BitsBeyondPrefix {
        /// The network that the address is in.
        network: IpNet,
        /// The address.
        address: IpAddr,
    },
}

/// Reads an address, or a network in CIDR form. What could be meant in two ways is refused, and so is what some read as octal.
pub fn parse(text: &str) -> Result<IpNet, InvalidNetwork> {
    if text.len() > MAX_NETWORK_CHARACTERS {
        return Err(InvalidNetwork::Malformed);
    }
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    // The standard library's parser takes no leading zeros, no short forms and no zones.
    let address: IpAddr = address.parse().map_err(|_| InvalidNetwork::Malformed)?;
    let Some(prefix) = prefix else { return Ok(IpNet::from(address.to_canonical())) };
    let network = IpNet::new(address, prefix_length(prefix)?).map_err(|_| InvalidNetwork::Malformed)?;
    let network = canonical(network);
    if network.addr() != network.network() {
        return Err(InvalidNetwork::BitsBeyondPrefix { network: network.trunc(), address: network.addr() });
    }
    Ok(network)
}

fn prefix_length(text: &str) -> Result<u8, InvalidNetwork> {
    let is_plain =
        (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain).ok_or(InvalidNetwork::Malformed)
}

/// A network of IPv4 addresses in IPv4's form.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let in_ipv4 = || match (network.addr().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS)) {
        (IpAddr::V4(address), Some(prefix)) => IpNet::new(address.into(), prefix).ok(),
        _ => None,
    };
    if network.addr().is_ipv6() { in_ipv4().unwrap_or(network) } else { network }
}

/// A list of networks in one form: each once, in one order.
#[must_use]
pub fn sorted(mut networks: Vec<IpNet>) -> Vec<IpNet> {
    networks.sort_unstable();
    networks.dedup();
    networks
}

/// A network as short as it can be written: one address without its prefix.
#[must_use]
pub fn shown(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() { network.addr().to_string() } else { network.to_string() }
}

/// Whether a list lets a caller in. An empty list lets all in; any other one nobody whose address isn't known.
#[must_use]
pub fn allow(networks: &[IpNet], caller: Option<IpAddr>) -> bool {
    let contain = |caller: IpAddr| networks.iter().any(|network| network.contains(&caller.to_canonical()));
    networks.is_empty() || caller.is_some_and(contain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, InvalidNetwork> {
        parse(text).map(|network| shown(&network))
    }

    #[test]
    fn addresses_and_networks_are_read_into_one_form() {
        for (text, one_form) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("2001:db8::1/128", "2001:db8::1"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:a00:0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(read(text), Ok(one_form.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_network_or_could_be_meant_in_two_ways_is_refused() {
        let long = format!("{}::/1", "0".repeat(50));
        for text in [
            "",
            " ",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "10.0.0.0/ 8",
            " 10.0.0.0/8",
            "10.0.0.0/8 ",
            "10.0.0.0/8,10.1.0.0/16",
            "10/8",
            "10.0.0.0/255.0.0.0",
            "010.0.0.0/8",
            "0x0a.0.0.0/8",
            "167772160/8",
            "10.0.0.256",
            "fe80::1%eth0",
            "fe80::%1/64",
            "[::1]",
            "[::1]/128",
            "::1::/8",
            "10.0.0.0/8\n",
            "１0.0.0.0/8",
            "10.0.0.0/٨",
            "localhost",
            "*",
            "10.0.0.*",
            "10.0.0.1-10.0.0.9",
            "10.0.0.0/999",
            "10.0.0.0/4294967304",
            &long,
        ] {
            assert_eq!(read(text), Err(InvalidNetwork::Malformed), "{text:?}");
        }
        for text in ["10.0.0.1/8", "2001:db8::1/32", "::ffff:10.0.0.1/104", "1.2.3.4/0", "::1/127"] {
            let Err(InvalidNetwork::BitsBeyondPrefix { network, address }) = parse(text) else { panic!("{text}") };
            assert!(network.contains(&address) && parse(&shown(&network)) == Ok(network) && parse(&address.to_string()).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_caller_is_let_in_from_its_networks_however_its_address_is_written() {
        let networks = |texts: &[&str]| texts.iter().map(|text| parse(text).unwrap()).collect::<Vec<_>>();
        let caller = |text: &str| Some(text.parse().unwrap());
        let office = networks(&["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.7"]);
        for inside in ["10.255.255.255", "10.0.0.0", "::ffff:10.1.2.3", "2001:db8:ffff::1", "192.0.2.7", "::ffff:c000:207"] {
            assert!(allow(&office, caller(inside)), "{inside}");
        }
        for outside in ["11.0.0.0", "9.255.255.255", "::ffff:11.0.0.0", "2001:db9::", "192.0.2.8", "::10.0.0.1", "64:ff9b::10.0.0.1", "::1"]
        {
            assert!(!allow(&office, caller(outside)), "{outside}");
        }
        assert!(allow(&[], None) && !allow(&office, None), "an address that isn't known is in no network");
        assert!(!allow(&networks(&["0.0.0.0/0", "::/0"]), None), "not even in all of them");
        assert!(allow(&networks(&["::/0"]), caller("2001:db8::1")) && !allow(&networks(&["::/0"]), caller("::ffff:10.0.0.1")));
        assert!(allow(&networks(&["0.0.0.0/0"]), caller("::ffff:10.0.0.1")) && !allow(&networks(&["0.0.0.0/0"]), caller("::1")));
    }

    #[test]
    fn a_list_has_each_network_once_and_in_one_order() {
        let sorted = |texts: &[&str]| sorted(texts.iter().map(|text| parse(text).unwrap()).collect());
        assert_eq!(sorted(&["::1", "10.0.0.0/8", "::ffff:10.0.0.0/104", "::1/128"]), sorted(&["10.0.0.0/8", "::1"]));
    }
}
