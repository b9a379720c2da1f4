use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};

use super::*;
use crate::http;
use crate::request_buffer::RequestBuffer;

/// Answers the requests of one connection after another with what `answer` makes of their number.
fn server(answers: Vec<Vec<&'static [u8]>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answers in answers {
            let mut stream = listener.accept().unwrap().0;
            stream.set_nodelay(true).unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            for answer in answers {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                // In two writes, so that the reader sees it in parts.
                let (one, two) = answer.split_at(answer.len() / 2);
                stream.write_all(one).unwrap();
                std::thread::sleep(Duration::from_millis(5));
                stream.write_all(two).unwrap();
            }
        }
    });
    addr
}

fn requests(count: usize) -> RequestBuffer {
    let mut requests = RequestBuffer::default();
    for index in 0..count {
        http::push_request(&mut requests, "POST", &format!("/{index}"), "t", "");
    }
    requests
}

fn expect_ok(_: usize, answer: &Answer<'_>) -> Result<(), String> {
    if answer.status == 200 { Ok(()) } else { Err(BUSY.to_owned()) }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const REFUSED: &[u8] = b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n";

#[test]
fn every_request_is_sent_once_and_unexpected_answers_are_counted_by_label() {
    let addr = server(vec![vec![OK, REFUSED, OK]]);
    let requests = requests(3);
    let mut source = RequestSource::once(&requests);
    let stats = Generator::connect(addr, 1).unwrap().drive(&mut source, None, expect_ok).unwrap();
    assert_eq!(stats.sent, 3);
    assert_eq!(stats.counted, 2);
    assert_eq!(stats.errors, BTreeMap::from([(BUSY.into(), 1)]));
    assert!(stats.used_up);
    assert!(stats.latency_us.max() >= 5_000, "both halves belong to the latency");
}

#[test]
fn a_connection_closed_in_the_middle_of_an_answer_is_an_error_and_the_run_goes_on() {
    let half = &OK[..OK.len() - 1];
    let addr = server(vec![vec![half], vec![OK, OK]]);
    let requests = requests(3);
    let mut source = RequestSource::once(&requests);
    let stats = Generator::connect(addr, 1).unwrap().drive(&mut source, None, expect_ok).unwrap();
    assert_eq!(stats.errors, BTreeMap::from([("connection closed".into(), 1)]));
    assert_eq!(stats.sent, 3);
}

#[test]
fn a_server_that_only_loses_connections_ends_the_run() {
    let addr = server(vec![vec![&OK[..9]], vec![&OK[..9]]]);
    let requests = requests(9);
    let error = Generator::connect(addr, 1).unwrap().drive(&mut RequestSource::once(&requests), None, expect_ok).err();
    assert!(error.unwrap().to_string().contains("keeps losing connections"));
}

#[test]
fn an_answer_larger_than_the_buffer_is_read_whole() {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 300_000, b'x');
    let addr = server(vec![vec![answer.leak()]]);
    let requests = requests(1);
    let mut length = 0;
    let check = |_: usize, answer: &Answer<'_>| {
        length = answer.body.len();
        Ok(())
    };
    Generator::connect(addr, 1).unwrap().drive(&mut RequestSource::once(&requests), None, check).unwrap();
    assert_eq!(length, 300_000);
}

#[test]
fn a_pace_is_kept_and_what_finds_no_connection_is_missed() {
    let addr = server(vec![vec![OK; 1_000]]);
    let requests = requests(1_000);
    let time = Some(Duration::from_millis(500));
    let drive = |pace| {
        let mut source = RequestSource::again_and_again(&requests);
        Generator::connect(addr, 1).unwrap().drive_at(Some(pace), &mut source, time, expect_ok).unwrap()
    };
    // An answer takes 5 ms at least, so no more than 100 of 1,000 are sent.
    let stats = drive(2_000.0);
    assert!(stats.sent <= 101 && stats.missed >= 500, "{} sent, {} missed", stats.sent, stats.missed);
    assert_eq!(stats.errors.len(), 0);
}

#[test]
fn what_was_refused_is_sent_again_after_all_others() {
    let addr = server(vec![vec![REFUSED, OK, OK, OK]]);
    let requests = requests(3);
    let mut seen = Vec::new();
    let check = |index: usize, answer: &Answer<'_>| (seen.push(index), expect_ok(index, answer)).1;
    let mut source = RequestSource::until_taken(&requests);
    let stats = Generator::connect(addr, 1).unwrap().drive(&mut source, None, check).unwrap();
    assert_eq!(seen, [0, 1, 2, 0]);
    assert_eq!((stats.sent, stats.errors.get(BUSY)), (4, Some(&1)));
}

#[test]
fn who_asks_again_at_once_does_so_until_it_is_taken() {
    let addr = server(vec![vec![REFUSED, REFUSED, OK, OK]]);
    let requests = requests(2);
    let mut seen = Vec::new();
    let check = |index: usize, answer: &Answer<'_>| (seen.push(index), expect_ok(index, answer)).1;
    let mut source = RequestSource::once(&requests).asking_again_at_once();
    let stats = Generator::connect(addr, 1).unwrap().drive(&mut source, None, check).unwrap();
    assert_eq!(seen, [0, 0, 0, 1]);
    assert_eq!((stats.sent, stats.errors.get(BUSY)), (4, Some(&2)));
}

#[test]
fn requests_that_are_sent_again_at_once_come_on_top_of_the_pace() {
    let addr = server(vec![[vec![REFUSED; 40], vec![OK; 1_000]].concat()]);
    let requests = requests(1);
    let mut source = RequestSource::again_and_again(&requests).asking_again_at_once();
    let time = Some(Duration::from_millis(1_000));
    let stats = Generator::connect(addr, 1).unwrap().drive_at(Some(10.0), &mut source, time, expect_ok).unwrap();
    assert_eq!(stats.errors.get(BUSY), Some(&40), "one request, 40 times");
    assert!((1..=11).contains(&stats.counted), "{} at 10 a second", stats.counted);
}

#[test]
fn time_ends_a_run_whose_requests_start_over() {
    let addr = server(vec![vec![OK; 1_000]]);
    let requests = requests(2);
    let mut source = RequestSource::again_and_again(&requests);
    let time = Duration::from_millis(50);
    let stats = Generator::connect(addr, 1).unwrap().drive(&mut source, Some(time), expect_ok).unwrap();
    assert!(!stats.used_up && stats.counted >= 3, "{}", stats.counted);
    assert!(stats.elapsed >= time && stats.elapsed < 4 * time, "{:?}", stats.elapsed);
}
