//! Owns putting policies in place and taking them away: under traffic, over each other, where something else is, and with
//! every process killed. Never what a policy does to a packet.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ebpf_runtime::lab::{Arms, ConstantProgram, Lab, Server, Verdict};
use lb_tests::balancer::{Balancer, echoes, eventually, lbctl_binary, plan, told};
use lb_tests::certified;
use lb_tests::signer::Signer;
use lb_tests::sockets::{Snmp, WAIT, any, connect, exchange, tcp_transfer};
use serde_json::Value;

const ECHO: u16 = 7;
const DISCARD: u16 = 9;

/// NAT to the backends, and UDP to port 9 routed. `more` are arms before all others.
fn policy(more: &str) -> String {
    format!(
        "lbp 1

vip front {{ address 203.0.113.10, 2001:db8:f::10 }}
track flows {{ idle tcp 5m, udp 30s; half_open 5s; max 10_000 }}
{}
policy nat {{ default drop }} =
  match {{
    {more}
    from servers     -> translate back -> forward
    to front        -> track flows -> translate echoes -> forward
    udp.dport == 9  -> count discarded -> forward
    else            -> drop
  }}
",
        echoes("; source 10.9.0.1, fd09::1; ports 20000-29999")
    )
}

/// Policies whose images swap by a store, and by a new program: the arm looks at a field that no other does.
fn policies() -> [String; 4] {
    [
        policy(""),
        policy("udp.dport == 1111 -> drop"),
        policy("udp.dport == 2222 -> drop"),
        policy("ttl == 3 -> drop"),
    ]
}

fn servers(lab: &Lab) -> Vec<Server> {
    let of = |host: &ebpf_runtime::lab::Host| {
        let each = host.addresses.iter();
        let each =
            each.map(|address| Server::tcp_echo(&host.namespace, SocketAddr::new(*address, ECHO)).unwrap());
        each.collect::<Vec<_>>()
    };
    lab.backends.iter().flat_map(of).collect()
}

fn services() -> [SocketAddr; 2] {
    [("203.0.113.10", ECHO), ("2001:db8:f::10", ECHO)]
        .map(|(address, port)| SocketAddr::new(address.parse().expect("an address"), port))
}

fn open(balancer: &Balancer, count: usize) -> Vec<TcpStream> {
    let client = &balancer.lab.clients[0].namespace;
    let open = |number: usize| client.run(|| connect(services()[number % 2])).unwrap();
    (0..count)
        .map(|number| open(number).unwrap_or_else(|error| panic!("connection {number}: {error}")))
        .collect()
}

fn all_alive(connections: &mut [TcpStream], when: &str) {
    for (number, stream) in connections.iter_mut().enumerate() {
        let told = format!("{when} {number}");
        exchange(stream, told.as_bytes()).unwrap_or_else(|error| panic!("{told}: {error}"));
    }
}

/// Counts at the sender, in the program and at the receiver are equal over forty applies, no connection is hurt, and
/// what was counted stays counted.
#[test]
fn applies_under_traffic_lose_nothing_and_keep_every_flow() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), &policy(""));
    let _servers = servers(&balancer.lab);
    let mut connections = open(&balancer, 50);
    all_alive(&mut connections, "before");
    let client = &balancer.lab.clients[0].namespace;
    let backend = &balancer.lab.backends[0].namespace;
    let (sent, received) = (Snmp::of(client).udp_sent(), Snmp::of(backend).udp_received());
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let until = stop.clone();
    let sender = client
        .spawn(move || {
            let target: SocketAddr = "10.1.0.1:9".parse().expect("an address");
            let socket = UdpSocket::bind(any(target)).expect("a socket");
            // Unconnected, so that the refusals of a port where nobody listens do not come back as errors. At no more than
            // 8,000 a second: a device's queue holds 256, for the time in which the kernel has no CPU to empty it.
            let mut number = 0u64;
            while !until.load(Ordering::Relaxed) {
                socket.send_to(&number.to_be_bytes(), target).expect("a datagram is sent");
                number += 1;
                if number.is_multiple_of(4) {
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        })
        .unwrap();
    for (number, policy) in policies().iter().cycle().take(40).enumerate() {
        balancer.apply(policy);
        if number % 4 == 3 {
            all_alive(&mut connections, "between applies");
        }
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender does not panic").expect("the sender runs");
    let sent = Snmp::of(&balancer.lab.clients[0].namespace).udp_sent() - sent;
    let arrived = || Snmp::of(&balancer.lab.backends[0].namespace).udp_received() - received;
    eventually(WAIT, || arrived() == sent);
    assert!(sent > 2_000, "only {sent} were sent");
    assert_eq!(arrived(), sent, "received");
    assert_eq!(balancer.tally("discarded"), sent, "counted on the way");
    all_alive(&mut connections, "after");
    assert_eq!(balancer.proven(), 50);
    assert_eq!(balancer.status()["generation"], 41);
}

/// An arm keeps what it has counted when arms before it come and go.
/// Tables that are too small for the next policy are made anew, with what they hold: a certificate keeps its backend, and
/// a signature that was accepted is not accepted again.
#[test]
fn sessions_and_signatures_move_into_larger_tables() {
    let signers: Vec<Signer> = (0..250).map(|number| Signer::new(number, number + 1)).collect();
    let known = &signers[0];
    let small = certified::policy(
        &[known],
        "verify once per session; replay 60s; checks 50 pkt/s; checks_per_source 50 pkt/s",
    );
    let large = certified::policy(&signers.iter().collect::<Vec<_>>(), "verify once per session; replay 10m")
        .replace("max 64 }", "max 100_000 }")
        .replace("\nside servers", &format!("{}\nside servers", spare_pools(4)));
    let (mut balancer, servers) = certified::balancer(&small);
    let ask = |balancer: &Balancer, payload: &[u8], wait: Duration| {
        let socket = certified::client(&balancer.lab.clients[0].namespace, certified::service(), wait);
        (certified::asks(&socket, payload), socket)
    };
    const SOON: Duration = Duration::from_millis(500);
    let seen = || servers.iter().map(Server::seen).collect::<Vec<u64>>();
    let first = known.sign(b"first");
    let (is_served, old) = ask(&balancer, &first, WAIT);
    assert!(is_served, "{}", balancer.agent_log());
    assert!(!ask(&balancer, &first, SOON).0, "it is a replay");
    assert_eq!(seen(), [1, 0, 0, 0]);
    let sizes = tables(&balancer, &small).into_iter().zip(tables(&balancer, &large));
    let sizes: Vec<(u64, u64)> = sizes.collect();
    assert!(sizes.len() == 4 && sizes.iter().all(|(small, large)| small < large), "{sizes:?}");
    balancer.apply(&large);

    // The flow goes on, new ones go where the session is, and nobody is next in turn.
    assert!(certified::asks(&old, &known.sign(b"on")), "the flow");
    assert!(ask(&balancer, &known.sign(b"again"), WAIT).0, "{}", balancer.agent_log());
    assert_eq!(seen(), [3, 0, 0, 0]);
    assert!(!ask(&balancer, &first, SOON).0, "it is a replay still");
    assert_eq!(balancer.tally("replayed"), 2 + 2, "exit and counter");
    assert!(ask(&balancer, &signers[249].sign(b"new"), WAIT).0);
    assert_eq!(balancer.status()["slow_path"]["sessions_begun"], 2);
    assert_eq!(seen(), [3, 1, 0, 0]);
}

/// Entries of the maps that hold sessions, signatures and flows under a policy.
fn tables(balancer: &Balancer, policy: &str) -> Vec<u64> {
    let file = balancer.write("sized.lbp", policy);
    let output = Command::new(lbctl_binary()).arg("compile").arg(file).arg("--json").output().unwrap();
    let compiled: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    let maps = compiled["maps"].as_array().expect("maps");
    let entries = |name| maps.iter().find(|map| map["name"] == name).expect("the map")["entries"].as_u64();
    ["SESSIONS", "REPLAYS", "FLOWS_NEW", "FLOWS_ANSWERED"].into_iter().filter_map(entries).collect()
}

/// Pools that nobody is sent to, each with room for every certificate's session.
fn spare_pools(count: usize) -> String {
    let pool = |number| {
        format!(
            "pool spare{number} {{ pick round-robin; via nat; source 10.9.0.1; ports 40000-40999; backend s{number} 10.3.0.{number} }}\n"
        )
    };
    (1..=count).map(pool).collect()
}

#[test]
fn counts_belong_to_arms_and_not_to_places() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), &policy(""));
    let _servers = servers(&balancer.lab);
    let mut connections = open(&balancer, 2);
    all_alive(&mut connections, "before");
    let counted = (balancer.tally("to front"), balancer.tally("from servers"));
    assert!(counted.0 >= 6 && counted.1 >= 4, "{counted:?}");
    for policy in &policies() {
        balancer.apply(policy);
        assert_eq!((balancer.tally("to front"), balancer.tally("from servers")), counted);
    }
    all_alive(&mut connections, "after");
    assert!(balancer.tally("to front") > counted.0);
}

/// With every process of ours killed, open connections go on and new ones are made; the next agent serves what is there.
#[test]
fn kill_9_changes_nothing() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), &policy(""));
    let _servers = servers(&balancer.lab);
    balancer.start_agent();
    let mut connections = open(&balancer, 10);
    all_alive(&mut connections, "with an agent");
    balancer.kill_agent();
    all_alive(&mut connections, "without an agent");
    connections.extend(open(&balancer, 10));
    let client = &balancer.lab.clients[0].namespace;
    tcp_transfer(client, services()[0], 1 << 20);
    balancer.start_agent();
    all_alive(&mut connections, "with the next agent");
    assert!(balancer.proven() >= 20);
    // And an apply that is killed on its way leaves the old policy or the new one.
    for wait in [1, 5, 20, 60, 120] {
        let mut apply = balancer.apply_command(&policies()[3]);
        let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        apply.kill().unwrap();
        apply.wait().unwrap();
        all_alive(&mut connections, "after a killed apply");
    }
    let policy = policy("");
    balancer.apply(&policy);
    all_alive(&mut connections, "after the next apply");
}

#[test]
fn two_agents_do_not_serve_one_instance() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), &policy(""));
    balancer.start_agent();
    let second = balancer.lbctl("agent").arg("--foreground").output().unwrap();
    assert_eq!(second.status.code(), Some(2), "{}", told(&second));
    assert!(told(&second).contains("agent"), "{}", told(&second));
}

/// Somebody else's program stays where it is, and the message says whose it is and what to do.
#[test]
fn a_foreign_program_is_refused() {
    let mut balancer = Balancer::new(&plan(Arms::Two));
    let foreign = ConstantProgram::load(Verdict::Pass).unwrap();
    let device = balancer.devices[1].clone();
    balancer.lab.balancer.attach(&device, &foreign).unwrap();
    let refused = balancer.try_apply(&policy(""));
    assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
    assert!(told(&refused).contains(&device), "{}", told(&refused));
    assert!(told(&refused).contains("xdp off"), "{}", told(&refused));
    // Nothing is half done: the other device is as it was.
    let untouched = balancer.lbctl("status").arg("--json").output().unwrap();
    assert!(!told(&untouched).contains("\"generation\""), "{}", told(&untouched));
}

/// After `detach` the kernel routes as it did before.
#[test]
fn detach_gives_the_devices_back() {
    let balancer = Balancer::with_policy(&plan(Arms::Two), "lbp 1\npolicy nothing { default drop } = drop\n");
    let client = &balancer.lab.clients[0];
    let backend = &balancer.lab.backends[0].namespace;
    let target = SocketAddr::new(balancer.lab.backends[0].addresses[0], DISCARD);
    let send =
        || client.namespace.run(|| UdpSocket::bind(any(target)).unwrap().send_to(b"x", target)).unwrap();
    let received = || Snmp::of(backend).udp_received();
    let before = received();
    send().unwrap();
    assert!(!eventually(Duration::from_millis(200), || received() > before), "a policy of drop let it pass");
    let detached = balancer.lbctl("detach").output().unwrap();
    assert!(detached.status.success(), "{}", told(&detached));
    send().unwrap();
    assert!(eventually(WAIT, || received() > before), "the stack does not route");
    let again = balancer.lbctl("detach").output().unwrap();
    assert!(!again.status.success(), "nothing is left to detach: {}", told(&again));
}

/// What cannot be applied says why in one message, and what runs is not touched.
#[test]
fn refusals_leave_the_running_policy_alone() {
    let mut balancer = Balancer::with_policy(&plan(Arms::Two), &policy(""));
    let _servers = servers(&balancer.lab);
    let mut connections = open(&balancer, 2);
    let id = balancer.status()["id"].clone();
    let bad = balancer.try_apply("lbp 1\npolicy p { default drop } = nowhere\n");
    assert_eq!(bad.status.code(), Some(1), "{}", told(&bad));
    let kept = std::mem::replace(&mut balancer.devices, vec!["wan0".to_owned(), "wan77".to_owned()]);
    let bad = balancer.try_apply(&policies()[1]);
    assert_eq!(bad.status.code(), Some(2), "{}", told(&bad));
    assert!(told(&bad).contains("wan77"), "{}", told(&bad));
    balancer.devices = kept;
    let bad = balancer.lbctl("apply").arg("/").args(["--device", "wan0"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2), "{}", told(&bad));
    assert_eq!(balancer.status()["id"], id);
    all_alive(&mut connections, "after refusals");
}
