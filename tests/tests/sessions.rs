//! Owns certificates on real devices, as users see them: `sessions.lbp`, `hero.lbp` and an imported `lb_config.toml` with
//! clients that sign, an agent, and counters by their names. Never the program's single frames.

use std::fs::Permissions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ebpf_runtime::lab::{Arms, Host, Plan, Server};
use lb_tests::balancer::{Balancer, addresses, eventually, told};
use lb_tests::cli::{Desk, Ran};
use lb_tests::sockets::WAIT;
use serde_json::Value;

/// Where `sessions.lbp` and the imported file have their backends.
const BACKENDS: [&str; 3] = ["192.168.1.10", "192.168.1.11", "192.168.1.12"];

/// Clients that have these addresses, and backends around a balancer that owns 203.0.113.10 and 2001:db8:f::10.
fn lab(clients: &[&str], backends: &[&str]) -> Balancer {
    Balancer::new(&Plan {
        arms: Arms::Two,
        balancer: addresses("203.0.113.10 2001:db8:f::10"),
        clients: clients.iter().map(|client| addresses(client)).collect(),
        backends: backends.iter().map(|backend| addresses(backend)).collect(),
    })
}

/// A server on each backend, which says `NAME sees ADDRESS`.
fn serve(balancer: &Balancer, names: &[&str], port: u16) -> Vec<Server> {
    let mut servers = Vec::new();
    for (host, name) in balancer.lab.backends.iter().zip(names) {
        for address in &host.addresses {
            let name = (*name).to_owned();
            let answer = move |_: &[u8], from: SocketAddr| format!("{name} sees {from}").into_bytes();
            servers.push(Server::udp(&host.namespace, SocketAddr::new(*address, port), answer).unwrap());
        }
    }
    servers
}

fn policy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies").join(name);
    std::fs::read_to_string(path).expect("a policy")
}

/// `lbctl ARGS` on the desk, which has to go well.
fn well(desk: &Desk, args: &[&str]) -> Ran {
    let ran = desk.lbctl(args);
    assert_eq!(ran.code, Some(0), "{ran}");
    ran
}

/// What `lbctl send ARGS --json` says, run on that host.
fn send(desk: &Desk, host: &Host, args: &[&str]) -> Value {
    let mut command = desk.command(&["send", "--json", "--rate", "50", "--timeout", "400ms"]);
    command.args(args);
    host.namespace.place(&mut command).unwrap();
    let output = command.output().expect("lbctl runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

/// Who answers a client, by the first word of what it is sent.
fn who(desk: &Desk, host: &Host, args: &[&str]) -> Vec<String> {
    let mut command = desk.command(&["send", "--rate", "50", "--timeout", "20s"]);
    command.args(args);
    host.namespace.place(&mut command).unwrap();
    let ran: Ran = command.output().expect("lbctl runs").into();
    let answers = ran.out.lines().filter(|line| line.starts_with("reply to "));
    answers.filter_map(|line| Some(line.split_once(" bytes: ")?.1.split(' ').next()?.to_owned())).collect()
}

fn apply(balancer: &Balancer, file: &Path) {
    let mut command = balancer.lbctl("apply");
    command.arg(file).args(["--no-agent", "--hash-key", "/run/hash.key"]);
    for device in &balancer.devices {
        command.args(["--device", device]);
    }
    let output = command.output().expect("lbctl runs");
    assert!(output.status.success(), "apply failed: {}", told(&output));
}

/// Packets of a named counter.
fn count(status: &Value, name: &str) -> u64 {
    let tallies = status["tallies"].as_array().expect("tallies").iter();
    let named = tallies.filter(|tally| tally["kind"] == "named" && tally["label"] == name);
    named.map(|tally| tally["packets"].as_u64().expect("a count")).sum()
}

fn sessions(balancer: &Balancer) -> Vec<Value> {
    let output = balancer.lbctl("sessions").arg("--json").output().expect("lbctl runs");
    assert!(output.status.success(), "{}", told(&output));
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    all["instances"][0]["sessions"].as_array().expect("sessions").clone()
}

/// The files that `sessions.lbp` names, with certificates whose keys are at hand.
fn sessions_desk() -> Desk {
    let desk = Desk::new(&[("policy.lbp", &policy("sessions.lbp")), ("certs/.keep", "")]);
    for name in ["0", "1", "4"] {
        well(&desk, &["cert", "new", &format!("certs/device-{name}")]);
    }
    well(&desk, &["cert", "new", "certs/device-2", "--bare"]);
    well(&desk, &["cert", "new", "forger", "--bare"]);
    well(&desk, &["cert", "revoke", "certs/device-4.pem", "--list", "certs/revoked.txt", "--run-dir", "run"]);
    desk
}

#[test]
fn a_certificate_keeps_its_backend_and_nobody_else_gets_in() {
    let mut balancer = lab(&["198.51.100.7 198.51.100.8", "198.51.100.66 2001:db8::66"], &BACKENDS);
    let desk = sessions_desk();
    apply(&balancer, &desk.path("policy.lbp"));
    balancer.start_agent();
    let servers = serve(&balancer, &["b0", "b1", "b2"], 8080);
    let (honest, other) = (&balancer.lab.clients[0], &balancer.lab.clients[1]);
    let to = ["--to", "203.0.113.10:8080"];
    let device = |id: &'static str| {
        let (key, cert) = (format!("certs/device-{id}.key"), format!("certs/device-{id}.pem"));
        ["--key".to_owned(), key, "--cert".to_owned(), cert, "--id".to_owned(), id.to_owned()]
    };
    let with = |own: &[String], more: &[&str]| -> Vec<String> {
        own.iter().cloned().chain(to.iter().chain(more).map(|word| (*word).to_owned())).collect()
    };
    let run_who =
        |host: &Host, args: &[String]| who(&desk, host, &args.iter().map(String::as_str).collect::<Vec<_>>());
    let lost = |host: &Host, args: &[String]| {
        let told = send(&desk, host, &args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(
            (told["answered"].as_u64(), told["sent"].as_u64()),
            (Some(0), Some(3)),
            "{args:?}: {told}"
        );
    };

    // From two addresses to one backend; another certificate to the next one.
    let first = run_who(honest, &with(&device("0"), &["--from", "198.51.100.7"]));
    assert_eq!(first, ["b0", "b0", "b0"], "{}", balancer.agent_log());
    assert_eq!(run_who(honest, &with(&device("0"), &["--from", "198.51.100.8"])), ["b0", "b0", "b0"]);
    assert_eq!(run_who(other, &with(&device("1"), &[])), ["b1", "b1", "b1"]);
    // There is room for two.
    let bare = ["--key", "certs/device-2.key", "--id", "2"].map(str::to_owned);
    lost(other, &with(&bare, &[]));
    // Each way of not being let in.
    lost(other, &with(&["--no-trailer".to_owned()], &[]));
    lost(other, &with(&device("0"), &["--forge"]));
    lost(other, &with(&device("4"), &[]));
    lost(other, &with(&["--key", "forger.key", "--hash", &"ab".repeat(32)].map(str::to_owned), &[]));
    let hash = well(&desk, &["cert", "show", "certs/device-0.pem", "--json"]).out;
    let hash = serde_json::from_str::<Value>(&hash).unwrap()["hash"].as_str().unwrap().to_owned();
    lost(other, &with(&["--key", "forger.key", "--hash", &hash].map(str::to_owned), &[]));
    // No backend speaks IPv6.
    lost(other, &[&device("0")[..], &["--to", "[2001:db8:f::10]:8080"].map(str::to_owned)].concat());

    let status = balancer.status();
    let counts = |name| count(&status, name);
    assert_eq!(counts("total_packets"), 3 * 10);
    assert_eq!((counts("auth_success"), counts("auth_failed")), (3 * 5, 3 * 5));
    assert_eq!((counts("cert_invalid"), counts("cert_expired")), (3 * 4, 0));
    assert_eq!((counts("no_session_left"), counts("no_backend_available")), (3, 3));
    assert_eq!(counts("load_balanced"), 9);
    let slow = &status["slow_path"];
    assert_eq!((&slow["sessions_begun"], &slow["sessions"]), (&2.into(), &2.into()), "{slow}");
    let tracker = &status["trackers"][0];
    assert_eq!((&tracker["sessions"], &tracker["flows"], &tracker["max"]), (&2.into(), &3.into(), &2.into()));
    let backends: Vec<(u64, u64)> = status["pools"][0]["backends"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backend| (backend["connections"].as_u64().unwrap(), backend["requests"].as_u64().unwrap()))
        .collect();
    assert_eq!(backends, [(2, 6), (1, 3), (0, 0)]);
    assert_eq!(servers.iter().map(Server::seen).collect::<Vec<_>>(), [6, 3, 0]);

    let all = sessions(&balancer);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((&all[0]["certificate"], &all[0]["name"]), (&hash.as_str().into(), &"device-0".into()));
    assert_eq!(
        (all[0]["clients"].as_array().unwrap().len(), &all[0]["backends"][0]["backend"]),
        (2, &"b0".into())
    );
    // Both ways.
    assert_eq!(all[0]["packets"], 12, "{}", all[0]);

    // Dropped, it begins anew; revoked, it does not.
    let mut drop = desk.command(&["sessions", "drop", &hash[..8], "--json", "--run-dir", "/run/lbctl"]);
    balancer.lab.balancer.place(&mut drop).unwrap();
    let dropped = drop.output().unwrap();
    let said: Value =
        serde_json::from_slice(&dropped.stdout).unwrap_or_else(|_| panic!("{}", told(&dropped)));
    assert_eq!((&said["sessions"], &said["flows"]), (&1.into(), &2.into()), "{said}");
    assert_eq!(sessions(&balancer).len(), 1);
    assert_eq!(run_who(honest, &with(&device("0"), &["--from", "198.51.100.7"])).len(), 3);
    assert_eq!(balancer.status()["slow_path"]["sessions_begun"], 3);
    // In the balancer's own mounts, no relative path leads anywhere.
    let path = |name: &str| desk.path(name).display().to_string();
    let (which, list) = (path("certs/device-0.pem"), path("certs/revoked.txt"));
    let mut revoke = desk.command(&["cert", "revoke", &which, "--list", &list, "--run-dir", "/run/lbctl"]);
    balancer.lab.balancer.place(&mut revoke).unwrap();
    let revoked: Ran = revoke.output().unwrap().into();
    assert!(
        revoked.out.contains("instance default: revoked at once; 1 session and 1 flow ended"),
        "{revoked}"
    );
    lost(honest, &with(&device("0"), &["--from", "198.51.100.7"]));
    // So it stays over the next apply.
    apply(&balancer, &desk.path("policy.lbp"));
    lost(honest, &with(&device("0"), &["--from", "198.51.100.8"]));
    assert_eq!(count(&balancer.status(), "cert_invalid"), 3 * 6);
}

/// The canonical policy with a certificate whose key is at hand, over both families.
#[test]
fn the_hero_lets_partners_in_who_sign_every_packet() {
    let backends = ["10.0.0.11 fd00::11", "10.0.0.12 fd00::12"];
    let mut balancer = lab(&["198.51.100.7 2001:db8:100::7", "192.0.2.9"], &backends);
    let desk = Desk::new(&[("policy.lbp", &policy("hero.lbp")), ("certs/.keep", "")]);
    well(&desk, &["cert", "new", "certs/device-0"]);
    apply(&balancer, &desk.path("policy.lbp"));
    balancer.start_agent();
    let servers = serve(&balancer, &["g1", "g2"], 9000);
    let (partner, stranger) = (&balancer.lab.clients[0], &balancer.lab.clients[1]);
    let device = ["--key", "certs/device-0.key", "--cert", "certs/device-0.pem"];
    let to = |to| [&device[..], &["--to", to]].concat();
    // One certificate, one session, one backend, by whatever family it comes.
    assert_eq!(who(&desk, partner, &to("203.0.113.10:8080")), ["g1"; 3], "{}", balancer.agent_log());
    assert_eq!(who(&desk, partner, &to("[2001:db8:f::10]:8080")), ["g1"; 3], "{}", balancer.agent_log());
    // Every packet's signature counts, also in session; and partners alone are asked for one.
    let from = ["--from", "198.51.100.7:40000"];
    assert_eq!(who(&desk, partner, &[&to("203.0.113.10:8080")[..], &from].concat()).len(), 3);
    let forged = [&to("203.0.113.10:8080")[..], &from, &["--forge"]].concat();
    assert_eq!(send(&desk, partner, &forged)["answered"], 0);
    assert_eq!(send(&desk, stranger, &to("203.0.113.10:8080"))["answered"], 0);
    assert_eq!(send(&desk, partner, &["--no-trailer", "--to", "203.0.113.10:8080"])["answered"], 0);
    let status = balancer.status();
    assert_eq!(count(&status, "forged"), 3);
    let slow = &status["slow_path"];
    assert_eq!((&slow["accepted"], &slow["invalid"]), (&9.into(), &3.into()), "{slow}");
    assert_eq!((&slow["sessions_begun"], &slow["sessions"]), (&1.into(), &1.into()), "{slow}");
    assert_eq!(servers.iter().map(Server::seen).sum::<u64>(), 9);
    let all = sessions(&balancer);
    assert_eq!(all[0]["clients"].as_array().map(Vec::len), Some(3), "{all:?}");
}

/// `lbctl import lb_config.toml | lbctl apply - --device …`, and a client with the key that the agent generated.
#[test]
fn an_imported_balancer_is_applied_from_a_pipe_and_serves() {
    let mut balancer = lab(&["198.51.100.7"], &BACKENDS);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/import/lb_config.toml");
    let desk = Desk::new(&[("lb_config.toml", &std::fs::read_to_string(config).unwrap())]);
    let imported = well(&desk, &["import", "lb_config.toml"]);
    let mut command = balancer.lbctl("apply");
    command.args(["-", "--no-agent", "--hash-key", "/run/hash.key"]);
    for device in &balancer.devices {
        command.args(["--device", device]);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("lbctl runs");
    child.stdin.take().expect("a pipe").write_all(imported.out.as_bytes()).expect("it is read");
    let output = child.wait_with_output().expect("lbctl ends");
    assert!(output.status.success(), "apply failed: {}", told(&output));
    balancer.start_agent();
    let _servers = serve(&balancer, &["b0", "b1", "b2"], 8080);
    // As root does on the balancer for a trial, the key is copied to the client.
    let in_balancer = |look: &(dyn Fn(PathBuf) -> Option<Vec<u8>> + Sync)| {
        let find = || {
            let mut instances = std::fs::read_dir("/run/lbctl").ok()?.flatten();
            let ours = instances.find(|entry| entry.file_name().to_string_lossy().starts_with("default"))?;
            look(ours.path().join("keys/certificates-0.key"))
        };
        balancer.lab.balancer.run(find).unwrap()
    };
    let key = || in_balancer(&|path| std::fs::read(path).ok());
    assert!(eventually(WAIT, || key().is_some()), "{}", balancer.agent_log());
    let mode =
        in_balancer(&|path| Some(vec![(std::fs::metadata(path).ok()?.permissions().mode() & 0o77) as u8]));
    assert_eq!(mode, Some(vec![0]), "others may read the key");
    desk.write("client.key", key().unwrap());
    std::fs::set_permissions(desk.path("client.key"), Permissions::from_mode(0o600)).unwrap();
    let client = &balancer.lab.clients[0];
    let signed = ["--key", "client.key", "--to", "203.0.113.10:8080"];
    assert_eq!(who(&desk, client, &signed), ["b0"; 3], "{}", balancer.agent_log());
    assert_eq!(send(&desk, client, &[&signed[..], &["--id", "3"]].concat())["answered"], 0);
    let status = balancer.status();
    assert_eq!((count(&status, "auth_success"), count(&status, "cert_invalid")), (3, 3));
}
