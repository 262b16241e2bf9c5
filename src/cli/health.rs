//! `forebay health`: asks the admin address of a running process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{NO, default_config, report};
use crate::config;

/// The admin address of a configuration that names none.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9006);
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(config: Option<PathBuf>) -> ExitCode {
    let address = match config.or_else(default_config).map(|path| config::admin_address(&path)) {
        Some(Ok(address)) => address.unwrap_or(DEFAULT_ADMIN),
        Some(Err(mistake)) => return report(&[mistake]),
        None => DEFAULT_ADMIN,
    };
    match ready(address) {
        Ok(true) => {
            println!("ready");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            println!("not ready");
            NO.into()
        }
        Err(error) => {
            println!("no answer at {address}: {error}");
            NO.into()
        }
    }
}

/// One plain request: a client library would be larger than the question.
fn ready(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: forebay\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0u8; 12];
    stream.read_exact(&mut answer)?;
    Ok(&answer[9..] == b"200")
}
