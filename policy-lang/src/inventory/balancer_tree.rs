//! Owns the policy that does what a certificate balancer does, with what proves it. Never the items that it names.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::balancer::{Backend, Balancer};
use super::items::strangers;

impl Balancer {
    /// The whole policy but for its declarations: UDP to the port is the balancer's, and everything else this host's.
    pub fn tree(&self, policy: &str, port: u16) -> String {
        const HEAD: &str = "{ default drop; unparsed pass; other pass; fragments match }";
        if !self.enabled.value {
            return format!(
                "# `enabled = false`: everything goes to this host.\npolicy {policy} {HEAD} = pass\n"
            );
        }
        let (pool, track, authority) = (self.pool_name(), self.track_name(), self.authority_name());
        let (mut verify, mut proof) = (String::new(), self.expectation(port));
        if self.certified() {
            verify = format!(
                "      -> verify {authority} (
        missing -> count auth_failed -> drop,
        invalid -> count auth_failed -> count cert_invalid -> drop,
        expired -> count auth_failed -> count cert_expired -> drop,
        revoked -> count auth_failed -> count cert_invalid -> drop,
        replayed -> count auth_failed -> drop
      )
      -> count auth_success
"
            );
            proof += &format!(
                "
assert \"no session without a certificate\" {{
  never udp.dport == {port} reaches {pool} without {authority}
}}
"
            );
        }
        format!(
            "side B when src in {pool}
side A otherwise

# What is not for the balancer goes to this host, as it does without one; `else -> drop` makes it a firewall.
policy {policy} {HEAD} =
  match {{
    from B -> translate back (invalid -> pass) -> forward
    udp.dport == {port}
      -> count total_packets
{verify}      -> track {track} (full -> count no_session_left -> drop, invalid -> drop)
      -> translate {pool} (empty -> count no_backend_available -> drop, ports -> count no_backend_available -> drop)
      -> count load_balanced
      -> forward
    else -> pass
  }}
{proof}"
        )
    }

    /// That clients come to the pool, and nobody else; nothing where no address is free for a client.
    fn expectation(&self, port: u16) -> String {
        let pool = self.pool_name();
        let Some((client, vip)) = self.strangers() else { return String::new() };
        let packet = |from: u16, to: u16| {
            let (client, vip) = (SocketAddr::new(client, from), SocketAddr::new(vip, to));
            format!("  packet udp src {client} dst {vip} payload \"hello\"")
        };
        let (lines, title) = match self.certificates.first().filter(|_| self.certified()) {
            Some(certificate) => {
                let signed = format!("signed {} {}", self.authority_name(), certificate.id.value);
                let lines = [
                    format!("{} {signed} => forward {pool}", packet(40_000, port)),
                    format!("{} {signed} forged => drop", packet(40_001, port)),
                    format!("{} => drop", packet(40_002, port)),
                ];
                (lines.join("\n"), "who has signed is served, and nobody else")
            }
            None => (format!("{} => forward {pool}", packet(40_000, port)), "whoever comes is served"),
        };
        let other = packet(40_003, if port == 53 { 54 } else { 53 });
        format!("\nexpect \"{title}\" {{\n{lines}\n{other} => pass\n}}\n")
    }

    /// Addresses of a client and of the balancer that the file does not name, of a family that is served.
    fn strangers(&self) -> Option<(IpAddr, IpAddr)> {
        let served = |v4: bool| {
            let usable = |one: &&Backend| one.enabled.value && (one.weight.value > 0 || !self.weighs());
            self.backends.iter().filter(usable).any(|one| one.address.value.is_ipv4() == v4)
        };
        let named: BTreeSet<IpAddr> = self
            .backends
            .iter()
            .map(|one| one.address.value)
            .chain(self.sources.iter().map(|source| source.value))
            .collect();
        let mut free = strangers(served(true)).filter(|address| !named.contains(address));
        free.next().zip(free.next())
    }
}
