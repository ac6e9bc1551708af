//! tmp
use std::io::{Read, Write};
use std::net::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a[1].as_str() {
        "proxy" => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let p = teal_proxy::Proxy::start(teal_proxy::Config { admin: "127.0.0.1:19000".parse().unwrap() }).await.unwrap();
            std::future::pending::<()>().await;
            drop(p);
        }),
        "backend" => {
            let size: usize = a[2].parse().unwrap();
            let l = TcpListener::bind("127.0.0.1:19001").unwrap();
            let body = "x".repeat(size);
            let ans = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nContent-Type: text/plain\r\n\r\n{body}");
            loop {
                let (mut s, _) = l.accept().unwrap();
                s.set_nodelay(true).unwrap();
                let ans = ans.clone();
                std::thread::spawn(move || {
                    let mut b = [0; 4096];
                    while matches!(s.read(&mut b), Ok(n) if n > 0) { s.write_all(ans.as_bytes()).unwrap(); }
                });
            }
        }
        _ => {
            let n: usize = a[2].parse().unwrap();
            let size: usize = a[3].parse().unwrap();
            let begin = std::time::Instant::now();
            let t: Vec<_> = (0..8).map(|_| std::thread::spawn(move || {
                let mut s = TcpStream::connect("127.0.0.1:19002").unwrap();
                s.set_nodelay(true).unwrap();
                let mut b = vec![0; 256 * 1024];
                for _ in 0..n / 8 {
                    s.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:19002\r\nUser-Agent: smoke\r\nAccept: */*\r\n\r\n").unwrap();
                    let mut got = 0;
                    let mut want = usize::MAX;
                    while got < want {
                        let k = s.read(&mut b[got..]).unwrap();
                        assert!(k > 0);
                        got += k;
                        if want == usize::MAX { if let Some(e) = b[..got].windows(4).position(|w| w == b"\r\n\r\n") { want = e + 4 + size; } }
                    }
                }
            })).collect();
            for t in t { t.join().unwrap(); }
            println!("{:.0} rps", n as f64 / begin.elapsed().as_secs_f64());
        }
    }
}
