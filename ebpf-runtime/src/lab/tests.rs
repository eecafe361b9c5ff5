use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::apply::Mode;
use crate::ethtool::{self, Offload};
use crate::{net, netdev};

const WAIT: Duration = Duration::from_secs(2);

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn plan(arms: Arms) -> Plan {
    Plan {
        arms,
        balancer: addresses(&["192.0.2.1", "2001:db8::1"]),
        clients: vec![addresses(&["10.0.0.9", "2001:db8:a::9"])],
        backends: vec![addresses(&["10.1.0.1", "2001:db8:b::1"]), addresses(&["10.1.0.2", "2001:db8:b::2"])],
    }
}

/// Without a policy the balancer is a router: every host reaches it and every other host, by both families.
fn everything_is_reached(arms: Arms) {
    let lab = Lab::build(&plan(arms)).unwrap();
    let client = &lab.clients[0];
    for target in addresses(&["192.0.2.1", "2001:db8::1", "10.1.0.1", "2001:db8:b::2"]) {
        let source = client.address_like(target).unwrap();
        let answer = ping(&client.namespace, source, target, 7, 1, WAIT).unwrap();
        assert!(answer.is_some(), "no answer from {target}");
    }
    for backend in &lab.backends {
        for address in &backend.addresses {
            let tcp = Server::tcp_echo(&backend.namespace, SocketAddr::new(*address, 7)).unwrap();
            let udp = Server::udp_echo(&backend.namespace, SocketAddr::new(*address, 7)).unwrap();
            let page =
                Server::http(&backend.namespace, SocketAddr::new(*address, 80), "hello".into()).unwrap();
            let source = SocketAddr::new(client.address_like(*address).unwrap(), 4_000);
            client.namespace.run(|| echo_both(source, tcp.address)).unwrap();
            assert_eq!((tcp.seen(), udp.seen()), (1, 1));
            assert_eq!(http_get(&client.namespace, page.address, WAIT).unwrap().as_deref(), Some("hello"));
        }
    }
}

fn echo_both(source: SocketAddr, server: SocketAddr) {
    let mut stream = connect_from(source, server, WAIT).unwrap();
    assert_eq!(stream.local_addr().unwrap(), source);
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let mut back = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut back).unwrap();
    });
    assert!(back == sent, "{} of {} bytes came back, or others", back.len(), sent.len());

    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    socket.send_to(b"over", server).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"over"[..], server));
}

#[test]
fn two_arms_reach_everything() {
    everything_is_reached(Arms::Two);
}

#[test]
fn one_arm_reaches_everything() {
    everything_is_reached(Arms::One);
}

#[test]
fn checksums_are_computed_in_software_at_both_ends() {
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    for device in &lab.devices {
        let on = lab.balancer.run(|| ethtool::offload(device, Offload::TxChecksum)).unwrap();
        assert!(!on.unwrap(), "{device}");
    }
    for host in lab.clients.iter().chain(&lab.backends) {
        let on = host.namespace.run(|| ethtool::offload(HOST_DEVICE, Offload::TxChecksum)).unwrap();
        assert!(!on.unwrap(), "{}", host.namespace.name());
        assert_eq!(host.namespace.run(|| ethtool::driver(HOST_DEVICE)).unwrap().unwrap(), "veth");
    }
}

#[test]
fn a_link_says_what_runs_on_it() {
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let host = &lab.clients[0];
    let links = host.namespace.run(net::links).unwrap().unwrap();
    let link = links.iter().find(|link| link.name == HOST_DEVICE).unwrap();
    assert_eq!((link.mac, link.mtu, link.up), (Some(host.mac), 1500, true));
    assert!(matches!(link.programs[..], [(Mode::Native, 1..)]), "{link:?}");
    let links = lab.balancer.run(net::links).unwrap().unwrap();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["lo", "wan0", "lan0", "lan1"]);
    assert!(links.iter().all(|link| link.programs.is_empty()), "{links:?}");
}

#[test]
fn the_kernel_says_what_a_driver_can_do() {
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let index = lab.balancer.index(&lab.devices[0]).unwrap();
    let features = lab.balancer.run(|| netdev::xdp_features(index)).unwrap().unwrap();
    // Linux 6.1 and 6.2 can't say.
    if let Some(features) = features {
        assert!(features.native() && features.redirect() && features.redirect_target(), "{features:?}");
    }
    let missing = lab.balancer.run(|| netdev::xdp_features(9_999)).unwrap();
    assert!(missing.is_err() || missing.unwrap().is_none());
}

/// The veth trap: a frame sent back by XDP_TX vanishes unless the peer is prepared. Every one must be counted at the
/// sender, at the balancer's device and again at the sender.
fn frames_come_back(arms: Arms) {
    const COUNT: usize = 100;
    let lab = Lab::build(&plan(arms)).unwrap();
    let client = &lab.clients[0];
    let program = ConstantProgram::load(Verdict::Tx).unwrap();
    lab.balancer.attach(&client.by, &program).unwrap();
    let socket = FrameSocket::open(&client.namespace, HOST_DEVICE).unwrap();
    let before = client.namespace.frames(HOST_DEVICE).unwrap();
    let mut frame = vec![0xff; 6];
    frame.extend(client.mac);
    frame.extend([0x88, 0xb5]); // local experimental ethertype (IEEE 802)
    frame.extend([0; 46]);
    for number in 0..COUNT {
        frame[14] = number as u8;
        socket.send(&frame).unwrap();
        let back = socket.receive_where(WAIT, |back| back.get(12..14) == Some(&[0x88, 0xb5])).unwrap();
        assert_eq!(back.as_deref(), Some(&frame[..]), "frame {number}");
    }
    let after = client.namespace.frames(HOST_DEVICE).unwrap();
    assert!(after.sent - before.sent >= COUNT as u64, "{before:?} {after:?}");
    assert!(after.received - before.received >= COUNT as u64, "{before:?} {after:?}");
}

#[test]
fn a_frame_sent_back_arrives_over_two_arms() {
    frames_come_back(Arms::Two);
}

#[test]
fn a_frame_sent_back_arrives_over_one_arm() {
    frames_come_back(Arms::One);
}

#[test]
fn a_command_runs_inside_and_sees_its_own_run() {
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let mut command = Command::new("cat");
    command.arg("/proc/self/mounts").stdout(Stdio::piped());
    lab.balancer.place(&mut command).unwrap();
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let mounts = String::from_utf8(output.stdout).unwrap();
    assert!(mounts.contains("lbctl-lab /run/lbctl/bpf bpf "), "{mounts}");
    let outside = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!outside.contains("lbctl-lab"), "{outside}");
}

const CHILD: &str = "LBCTL_LAB_TEST_CHILD";

/// A child process builds a lab, attaches and pins a program in it, starts a command in it, and is killed. What
/// namespaces, devices or pins would keep alive is the program; what would go on is the command.
#[test]
fn kill_9_leaves_nothing() {
    if std::env::var_os(CHILD).is_some() {
        return hold_a_lab();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lab::tests::kill_9_leaves_nothing", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("held ")).unwrap();
    let mut held = line.split(' ').skip(1).map(|number| number.parse::<u32>().unwrap());
    let (program, command) = (held.next().unwrap(), held.next().unwrap());
    assert!(program_exists(program) && process_exists(command));

    child.kill().unwrap();
    child.wait().unwrap();
    let started = Instant::now();
    while program_exists(program) || process_exists(command) {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "program {program} or command {command} is still there"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn hold_a_lab() {
    let lab = Lab::build(&plan(Arms::Two)).unwrap();
    let program = ConstantProgram::load(Verdict::Pass).unwrap();
    lab.balancer.attach(&lab.devices[0], &program).unwrap();
    lab.balancer.run(|| pin(&program, c"/run/lbctl/bpf/held")).unwrap();
    let mut command = Command::new("sleep");
    command.arg("1000");
    lab.balancer.place(&mut command).unwrap();
    let mut command = command.spawn().unwrap();
    println!("held {} {}", program_id(&program), command.id());
    command.wait().unwrap();
    panic!("nobody killed us");
}

fn program_id(program: &ConstantProgram) -> u32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.fd().as_raw_fd())).unwrap();
    let id = info.lines().find_map(|line| line.strip_prefix("prog_id:")).unwrap();
    id.trim().parse().unwrap()
}

fn program_exists(id: u32) -> bool {
    aya::programs::loaded_programs().any(|program| program.unwrap().id() == id)
}

fn process_exists(id: u32) -> bool {
    // A zombie that nobody has waited for yet is gone.
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn pin(program: &ConstantProgram, path: &std::ffi::CStr) {
    #[repr(C)]
    struct ObjPin {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    const BPF_OBJ_PIN: libc::c_long = 6;
    let attr =
        ObjPin { pathname: path.as_ptr() as u64, bpf_fd: program.fd().as_raw_fd() as u32, file_flags: 0 };
    // SAFETY: the attribute is a prefix of the kernel's union of the size given; the path is terminated and outlives
    // the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_PIN, &raw const attr, size_of::<ObjPin>()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
