//! The profile `descriptors`: send_fds and recv_fds, with every capability checked before the implementation is called.

use crate::request::{hex, Fault, Reply, Request};
use crate::Implementation;
use serde_json::{json, Value};
use std::os::fd::RawFd;

/// What a call has beside data and descriptors. Only what is among the capabilities ever differs from the default.
#[derive(Debug, Default)]
pub struct Options<'a> {
    /// MSG_* flags as one number.
    pub flags: i32,
    /// The destination of a send.
    pub address: Option<&'a str>,
    /// By the call that takes exactly one descriptor.
    pub single: bool,
}

/// What a receive reported.
#[derive(Debug, Default)]
pub struct Received {
    /// The number of data bytes.
    pub length: usize,
    /// The descriptors, which nobody else owns any more.
    pub fds: Vec<RawFd>,
    /// msg_flags, where the API shows them.
    pub flags: Option<i32>,
    /// The sender's address, where the API shows it.
    pub address: Option<String>,
}

/// Calls into the implementation, which add nothing and hide nothing.
pub trait Descriptors {
    /// Send; return how many data bytes the implementation says it took. With `single` there is one descriptor.
    fn send(&mut self, fd: RawFd, buffers: &[Vec<u8>], fds: &[RawFd], options: &Options) -> Result<usize, Fault>;

    /// Receive into `buffers` with room for so many descriptors. With `single` the call itself has room for one.
    fn receive(
        &mut self,
        fd: RawFd,
        buffers: &mut [Vec<u8>],
        room: usize,
        options: &Options,
    ) -> Result<Received, Fault>;
}

/// An implementation with the capabilities that its offer in `hello` declares.
pub struct Profile<D> {
    capabilities: Vec<String>,
    implementation: D,
}

impl<D: Descriptors> Profile<D> {
    /// Read the capabilities from `hello`, so that they are written down once.
    pub fn new(hello: &Value, implementation: D) -> Profile<D> {
        let declared = hello["profiles"]["descriptors"]["capabilities"].as_array().into_iter().flatten();
        let capabilities = declared.filter_map(Value::as_str).map(String::from).collect();
        Profile { capabilities, implementation }
    }

    /// Refuse the first use of a capability that was not declared.
    fn check(&self, uses: &[(bool, &str)]) -> Result<(), Fault> {
        let lacks = |name: &str| !self.capabilities.iter().any(|capability| capability == name);
        match uses.iter().find(|(used, name)| *used && lacks(name)) {
            Some((_, name)) => Err(Fault::Unsupported(format!("capability {name} is not declared"))),
            None => Ok(()),
        }
    }

    fn send(&mut self, request: &Request) -> Reply {
        let (buffers, fds) = (request.buffers("buffers")?, request.fds("fds")?);
        let options = options(request)?;
        self.check(&[
            (options.single, "single"),
            (options.flags != 0, "flags-out"),
            (options.address.is_some(), "address"),
            (buffers.len() > 1, "buffers-out"),
            (buffers.iter().all(Vec::is_empty), "empty-out"),
            (fds.is_empty(), "plain-out"),
            (fds.len() > 1, "many"),
        ])?;
        if options.single && fds.len() != 1 {
            return Err(Fault::request(format!("`single` takes one descriptor, {} came", fds.len())));
        }
        let sent = self.implementation.send(request.fd("fd")?, &buffers, &fds, &options)?;
        Ok(json!({ "sent": sent }))
    }

    fn receive(&mut self, request: &Request) -> Reply {
        let (sizes, room) = (request.sizes("sizes")?, request.count("room")?);
        let options = options(request)?;
        self.check(&[
            (options.single, "single"),
            (options.flags != 0, "flags-in"),
            (sizes.len() > 1, "buffers-in"),
            (!options.single && room > 1, "many"),
        ])?;
        let mut buffers: Vec<Vec<u8>> = sizes.iter().map(|&size| vec![0; size]).collect();
        let received = self.implementation.receive(request.fd("fd")?, &mut buffers, room, &options)?;
        let mut left = received.length;
        let mut filled = Vec::with_capacity(buffers.len());
        for buffer in &buffers {
            let length = left.min(buffer.len());
            filled.push(hex(&buffer[..length]));
            left -= length;
        }
        let flags = received.flags.map(|flags| [flags]);
        Ok(json!({ "buffers": filled, "fds": received.fds, "flags": flags, "address": received.address }))
    }
}

impl<D: Descriptors> Implementation for Profile<D> {
    fn call(&mut self, op: &str, request: &Request) -> Option<Reply> {
        match op {
            "send_fds" => Some(self.send(request)),
            "recv_fds" => Some(self.receive(request)),
            _ => None,
        }
    }
}

fn options<'a>(request: &'a Request) -> Result<Options<'a>, Fault> {
    let (flags, address, single) = (request.flags("flags")?, request.text("address")?, request.switch("single")?);
    Ok(Options { flags, address, single })
}
