//! The testee's side of the testee protocol, version 1 (see the manual page `docs/testee-protocol.md`).
//!
//! An adapter describes its implementation in `hello`, implements [`Descriptors`] (or [`Implementation`], for another
//! profile) with calls into it, and hands both to [`serve`]. This crate reads requests, runs `steps` and resolves their
//! references, and carries out what every testee can do (`connect`, `listen`, `accept`, `open`, `close`, ...) by plain
//! system calls. It never catches a panic: an implementation that panics ends the testee, and that is the observation.

mod descriptors;
mod request;
mod sockets;

pub use descriptors::{Descriptors, Options, Profile, Received};
pub use request::{hex, unhex, Fault, Reply, Request};
pub use sockets::Sockets;

use serde_json::{json, Map, Value};
use std::collections::HashMap;
use std::io::{self, BufRead, Write};

/// The operations that a testee answers only where `hello` declares this capability of the testee as a whole.
const CAPABILITIES: [(&str, &[&str]); 3] =
    [("steps", &["steps"]), ("options", &["setopt", "getopt", "shutdown"]), ("listen", &["listen", "accept"])];

/// The compiler that built this testee.
pub const RUNTIME: &str = env!("FDSPEC_RUSTC");

/// What answers the operations of the profiles that `hello` offers.
pub trait Implementation {
    /// Carry out `op`, or return `None` where it is none of this implementation's.
    fn call(&mut self, op: &str, request: &Request) -> Option<Reply>;

    /// Drop what the case left behind; descriptors that were reported belong to the harness by then.
    fn reset(&mut self) {}
}

/// Answer requests until standard input ends; then exit with 0.
///
/// Where `hello` has no `capabilities` of the testee as a whole, it gets those that this crate answers for every testee;
/// where it has some, the operations of the others are answered with `unsupported`.
pub fn serve(mut hello: Value, implementation: impl Implementation) -> ! {
    if hello["capabilities"].is_null() {
        hello["capabilities"] = CAPABILITIES.iter().map(|(capability, _)| *capability).collect();
    }
    let mut testee = Testee { hello, implementation, sockets: Sockets::default(), constants: HashMap::new() };
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => std::process::exit(0),
            Ok(_) => {}
        }
        let request: Map<String, Value> = match serde_json::from_slice(&line) {
            Ok(request) => request,
            Err(fault) => {
                eprintln!("a line that is no JSON object: {fault}");
                continue;
            }
        };
        let mut reply = envelope(testee.carry_out(&request, None));
        reply["id"] = request.get("id").cloned().unwrap_or(Value::Null);
        let mut bytes = reply.to_string().into_bytes();
        bytes.push(b'\n');
        if output.write_all(&bytes).and_then(|()| output.flush()).is_err() {
            std::process::exit(0); // nobody reads any more
        }
    }
}

/// Return the version of `package` in the text of a `Cargo.lock`: what `cargo build --locked` built.
///
/// Panics where the lock file has no such package, which is a mistake of the adapter.
pub fn locked_version<'a>(lock: &'a str, package: &str) -> &'a str {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let start = lock.find(&entry).unwrap_or_else(|| panic!("no package {package} in Cargo.lock")) + entry.len();
    lock[start..].split('"').next().expect("split yields at least one piece")
}

struct Testee<I> {
    hello: Value,
    implementation: I,
    sockets: Sockets,
    constants: HashMap<String, i64>,
}

impl<I: Implementation> Testee<I> {
    /// `earlier`: the replies of the steps before this one; `None` outside of `steps`.
    fn carry_out(&mut self, fields: &Map<String, Value>, earlier: Option<&[Value]>) -> Reply {
        let op = fields.get("op").and_then(Value::as_str).ok_or_else(|| Fault::request("a request has an `op`"))?;
        if let Some((needed, _)) = CAPABILITIES.iter().find(|(_, operations)| operations.contains(&op)) {
            let declared = self.hello["capabilities"].as_array().is_some_and(|all| all.iter().any(|one| one == needed));
            if !declared {
                return Err(Fault::Unsupported(format!("{op}: the capability {needed} is not declared")));
            }
        }
        match (op, earlier) {
            ("steps", None) => return self.steps(fields),
            ("steps", Some(_)) => return Err(Fault::request("steps within steps")),
            ("hello", _) => {
                let given = fields.get("constants").and_then(Value::as_object).into_iter().flatten();
                self.constants.extend(given.filter_map(|(name, value)| Some((name.clone(), value.as_i64()?))));
                return Ok(self.hello.clone());
            }
            _ => {}
        }
        let request = Request::new(fields, earlier.unwrap_or_default(), &self.constants)?;
        if op == "reset" {
            self.implementation.reset();
        }
        if let Some(reply) = self.sockets.call(op, &request) {
            return reply;
        }
        let reply = self.implementation.call(op, &request);
        reply.unwrap_or_else(|| Err(Fault::Unsupported(format!("no operation {op}"))))
    }

    fn steps(&mut self, fields: &Map<String, Value>) -> Reply {
        let steps = fields.get("steps").and_then(Value::as_array).ok_or_else(|| Fault::request("`steps`: a list"))?;
        let go_on = fields.get("go_on").and_then(Value::as_bool).unwrap_or(false);
        let mut replies = Vec::with_capacity(steps.len());
        for step in steps {
            let outcome = match step.as_object() {
                Some(step) => self.carry_out(step, Some(&replies)),
                None => Err(Fault::request("a step is an object")),
            };
            let failed = outcome.is_err();
            replies.push(envelope(outcome));
            if failed && !go_on {
                break;
            }
        }
        Ok(json!({ "replies": replies }))
    }
}

fn envelope(reply: Reply) -> Value {
    match reply {
        Ok(result) => json!({ "result": result }),
        Err(Fault::Unsupported(why)) => json!({ "unsupported": why }),
        Err(Fault::Error { kind, errno, message, observed }) => {
            let mut error = json!({ "type": kind, "errno": errno, "message": message });
            if let Some(observed) = observed {
                error["observed"] = observed;
            }
            json!({ "error": error })
        }
    }
}
