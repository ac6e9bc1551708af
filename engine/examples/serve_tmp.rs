//! Temporary.
#[tokio::main]
async fn main() {
    let mut c = teal_engine::Config::new("/tmp/te-state");
    c.listen = ([127, 0, 0, 1], 18081).into();
    c.on_notice = Box::new(|n| eprintln!("{n}"));
    let e = teal_engine::Engine::start(c).await.expect("start");
    tokio::signal::ctrl_c().await.expect("signal");
    e.stop().await;
}
