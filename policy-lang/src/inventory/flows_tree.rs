//! Owns the policy that does what a flow balancer does, with what proves it. Never the items that it names.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::flows::{Flows, Mapping};
use super::flows_items::Target;
use super::items::{quoted, strangers};

impl Flows {
    /// The whole policy but for its declarations: UDP to the address and port is the balancer's, and everything else
    /// this host's.
    pub(super) fn tree(&self, policy: &str) -> String {
        let targets = self.targets();
        let pools: Vec<&str> = targets.iter().map(|target| target.pool.as_str()).collect();
        let pools = match pools.as_slice() {
            [one] => (*one).to_owned(),
            all => format!("{{ {} }}", all.join(", ")),
        };
        let mut text = format!(
            "side B when src in {pools}
side A otherwise

# What is not for the balancer goes to this host, as it does without one; `else -> drop` makes it a firewall.
policy {policy} {{ default drop; unparsed pass; other pass; fragments match }} =
  match {{
    from B -> translate back (invalid -> pass) -> forward
    iface == uplink and to listen
      -> map hello (missing -> count no_name -> drop, invalid -> count bad_hello -> drop, full -> count no_flow_left -> drop)
      -> by_name
    else -> pass
  }}

# An exact name goes before one with a star, and the longer of two stars before the shorter.
tree by_name =
  match {{
"
        );
        let mut arms: Vec<(&str, Vec<&str>)> = Vec::new();
        for target in &targets {
            let exact = |mapping: &&&Mapping| !mapping.name.value.starts_with('*');
            let names: Vec<&str> =
                target.mappings.iter().filter(exact).map(|mapping| mapping.name.value.as_str()).collect();
            if !names.is_empty() {
                arms.push((&target.pool, names));
            }
        }
        let mut stars: Vec<(&str, &str)> = Vec::new();
        let mut other = None;
        for target in &targets {
            for mapping in &target.mappings {
                match mapping.name.value.as_str() {
                    "*" => other = Some(target.pool.as_str()),
                    name if name.starts_with('*') => stars.push((&target.pool, name)),
                    _ => {}
                }
            }
        }
        stars.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
        arms.extend(stars.into_iter().map(|(pool, name)| (pool, vec![name])));
        for (pool, names) in arms {
            let guard = match names.as_slice() {
                [name] if !name.starts_with('*') => format!("sni == {}", quoted(name)),
                all => format!(
                    "sni in {{ {} }}",
                    all.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
                ),
            };
            let _ = writeln!(text, "    {guard} -> {}", way(pool));
        }
        let otherwise = other.map_or_else(|| "count unknown_name -> drop".to_owned(), way);
        let port = self.port.value;
        let _ = write!(
            text,
            "    else -> {otherwise}
  }}

assert \"nobody comes to a host without its name\" {{
  never udp.dport == {port} reaches by_name without hello
}}
"
        );
        text + &self.expectation(&targets)
    }

    /// That a client comes to the host whose name it asks for, and to none without a name; nothing where no address is
    /// free for a client.
    fn expectation(&self, targets: &[Target<'_>]) -> String {
        let Some((target, mapping)) = targets.first().and_then(|one| Some((one, one.mappings.first()?)))
        else {
            return String::new();
        };
        let named: Vec<IpAddr> = self.mappings.iter().map(|mapping| mapping.address.value).collect();
        let client = strangers(self.address.value.is_ipv4())
            .find(|address| *address != self.address.value && !named.contains(address));
        let Some(client) = client else { return String::new() };
        let name = match mapping.name.value.as_str() {
            "*" => "anything.example".to_owned(),
            name => name.replacen('*', "a", 1),
        };
        let vip = SocketAddr::new(self.address.value, self.port.value as u16);
        let packet =
            |port: u16| format!("  packet udp src {} dst {vip} iface uplink", SocketAddr::new(client, port));
        format!(
            "
expect \"a client comes to the host of the name it asks for\" {{
{} sni {} => forward {}
{} payload \"hello\" => drop
}}
",
            packet(40_000),
            quoted(&name),
            target.pool,
            packet(40_001)
        )
    }
}

fn way(pool: &str) -> String {
    format!(
        "track conns (full -> drop, invalid -> drop) -> translate {pool} (empty -> drop, ports -> drop) -> forward"
    )
}
