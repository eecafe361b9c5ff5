//! Owns the servers of a scene: each says its name and who it sees, by HTTP, a line of TCP, or UDP.
//! Never which of them gets a connection.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use ebpf_runtime::lab::{Error, Host, Server};

/// A backend's servers, one for each of its addresses and protocols.
pub struct Servers {
    servers: Vec<Server>,
}

impl Servers {
    /// Starts them on the host, at every address in `addresses`.
    pub fn start(host: &Host, name: &str, addresses: &[SocketAddr]) -> Result<Servers, Error> {
        let mut servers = Vec::new();
        for &address in addresses {
            let tcp = name.to_owned();
            servers.push(Server::tcp(&host.namespace, address, move |stream| serve(&tcp, stream))?);
            let udp = name.to_owned();
            let answer = move |_: &[u8], from: SocketAddr| format!("{udp} sees {from}\n").into_bytes();
            servers.push(Server::udp(&host.namespace, address, answer)?);
        }
        Ok(Servers { servers })
    }

    /// Connections and datagrams so far.
    pub fn seen(&self) -> u64 {
        self.servers.iter().map(Server::seen).sum()
    }
}

fn serve(name: &str, mut stream: TcpStream) -> io::Result<()> {
    let line = format!("{name} sees {}\n", stream.peer_addr()?);
    let mut asked = BufReader::new(stream.try_clone()?).lines();
    let first = asked.next().transpose()?.unwrap_or_default();
    if first.starts_with("GET ") {
        for header in asked {
            if header?.is_empty() {
                break;
            }
        }
        let length = line.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
    }
    stream.write_all(line.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)
}
