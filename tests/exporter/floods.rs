//! The program against clients that want to bring it down.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::program::{Program, any_hour};
use crate::support::Server;

/// What the program may ever have taken of the machine's memory.
const RESIDENT_BYTES_MAX: u64 = 64 << 20;

/// The most memory that the program had at any time.
fn resident_bytes(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn address(program: &Program) -> &str {
    program.url.strip_prefix("http://").unwrap()
}

fn metrics(program: &Program) -> String {
    let mut stream = TcpStream::connect(address(program)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_that_come_again_do_not_keep_a_scrape_from_its_answer() {
    let server = Server::opencost(any_hour).await;
    let program = Program::start(&server.url, &[]);
    program.line("exported ");
    let half_open = |_| {
        let mut stream = TcpStream::connect(address(&program)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").unwrap();
        stream
    };
    for round in 0..4 {
        let held: Vec<TcpStream> = (0..250).map(half_open).collect();
        let shown = metrics(&program);
        assert!(shown.contains("cloudtuner_kubecost_cluster_total_cost{"), "{round}: {shown}");
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_hundred_clients_with_long_heads_are_refused_in_little_memory() {
    let server = Server::opencost(any_hour).await;
    let program = Program::start(&server.url, &[]);
    program.line("exported ");
    let head = |length: usize| {
        let lines: String = (0..length / 1_000)
            .map(|line| format!("X-{line:03}: {}\r\n", "y".repeat(991)))
            .collect();
        format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{lines}")
    };
    let long = head(380_000);
    let mut clients = Vec::new();
    for _ in 0..900 {
        let mut stream = TcpStream::connect(address(&program)).unwrap();
        stream.set_nonblocking(true).unwrap();
        // As much as the kernel takes; the server may have refused it by then.
        let _ = stream.write(long.as_bytes());
        clients.push(stream);
    }
    let shown = metrics(&program);
    assert!(shown.contains("cloudtuner_kubecost_cluster_total_cost{"), "{shown}");
    let is_answered = |stream: &mut TcpStream| {
        let mut start = [0; 12];
        stream.read(&mut start).is_ok_and(|length| start[..length].ends_with(b" 200"))
    };
    assert_eq!(
        clients.iter_mut().filter_map(|one| is_answered(one).then_some(())).count(),
        0,
        "a head of 380 KB was taken for a request"
    );
    let resident = resident_bytes(&program);
    assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes");
}
