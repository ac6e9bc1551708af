//! The balancer from outside: real sockets, real time, ports of the system's choice.

mod admin;
mod change;
mod framing;
mod fuzz;
mod keep_alive;
mod limits;
mod restart;
mod retry;
mod shutdown;
mod streaming;
mod upgrade;
mod world;
