//! A request's fields with their types, references resolved; and what can go wrong.

use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::os::fd::RawFd;

/// The result of an operation, as its reply's `result` shows it.
pub type Reply = Result<Value, Fault>;

/// Why an operation has no result.
#[derive(Debug)]
pub enum Fault {
    /// `hello` did not promise it.
    Unsupported(String),
    /// The implementation (or a system call of the adapter) reported an error.
    Error {
        /// The error's type in Rust.
        kind: String,
        /// The error number, where there is one.
        errno: Option<i32>,
        /// What the error says.
        message: String,
        /// What it carried all the same, in the shape of the operation's result.
        observed: Option<Value>,
    },
}

impl Fault {
    /// An error of the type `kind`, told as it tells itself.
    pub fn new(kind: &str, errno: Option<i32>, error: impl std::fmt::Display) -> Fault {
        Fault::Error { kind: kind.into(), errno, message: error.to_string(), observed: None }
    }

    /// The request is malformed: the harness's mistake, not the implementation's.
    pub fn request(message: impl std::fmt::Display) -> Fault {
        Fault::new("Request", None, message)
    }

    /// The last system call's error.
    pub fn last_os_error() -> Fault {
        std::io::Error::last_os_error().into()
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Fault {
        Fault::new("std::io::Error", error.raw_os_error(), error)
    }
}

/// One request. Every accessor returns a `Fault` that names the field.
pub struct Request<'a> {
    fields: Cow<'a, Map<String, Value>>,
    constants: &'a HashMap<String, i64>,
}

impl<'a> Request<'a> {
    /// Resolve references to the results of `earlier` steps where numbers are expected.
    pub(crate) fn new(
        fields: &'a Map<String, Value>,
        earlier: &[Value],
        constants: &'a HashMap<String, i64>,
    ) -> Result<Request<'a>, Fault> {
        let mut fields = Cow::Borrowed(fields);
        for name in ["fd", "fds", "transport", "ancillary"] {
            if fields.get(name).is_some_and(has_reference) {
                let field = fields.to_mut().get_mut(name).expect("it was there");
                resolve(field, earlier)?;
            }
        }
        Ok(Request { fields, constants })
    }

    /// The field as it came.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// A descriptor number, as an API takes it that takes an `i32`.
    pub fn fd(&self, name: &str) -> Result<RawFd, Fault> {
        narrow(self.get(name), name)
    }

    /// Descriptor numbers.
    pub fn fds(&self, name: &str) -> Result<Vec<RawFd>, Fault> {
        self.list(name)?.iter().map(|fd| narrow(Some(fd), name)).collect()
    }

    /// Lengths.
    pub fn sizes(&self, name: &str) -> Result<Vec<usize>, Fault> {
        let size = |size: &Value| size.as_u64().and_then(|size| size.try_into().ok());
        self.list(name)?.iter().map(|one| size(one).ok_or_else(|| wrong(name, "lengths", one))).collect()
    }

    /// Buffers of bytes.
    pub fn buffers(&self, name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let bytes = |one: &Value| one.as_str().and_then(unhex).ok_or_else(|| wrong(name, "hexadecimal digits", one));
        self.list(name)?.iter().map(bytes).collect()
    }

    /// A count of at least 0; 0 where it is absent.
    pub fn count(&self, name: &str) -> Result<usize, Fault> {
        match self.get(name) {
            None => Ok(0),
            Some(value) => {
                value.as_u64().and_then(|count| count.try_into().ok()).ok_or_else(|| wrong(name, "a count", value))
            }
        }
    }

    /// A switch; off where it is absent.
    pub fn switch(&self, name: &str) -> Result<bool, Fault> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong(name, "true or false", value)),
        }
    }

    /// A text, `None` where it is absent.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(name, "a text", value)),
        }
    }

    /// A constant by name, or a number.
    pub fn number(&self, name: &str) -> Result<i32, Fault> {
        self.constant(name, self.get(name).unwrap_or(&Value::Null))
    }

    /// Flags by name or number, as one number.
    pub fn flags(&self, name: &str) -> Result<i32, Fault> {
        let flags: Result<Vec<i32>, Fault> = self.list(name)?.iter().map(|flag| self.constant(name, flag)).collect();
        Ok(flags?.into_iter().fold(0, |all, flag| all | flag))
    }

    fn constant(&self, field: &str, value: &Value) -> Result<i32, Fault> {
        let number = match value.as_str() {
            Some(name) => self.constants.get(name).copied(),
            None => value.as_i64(),
        };
        // Flags fill all 32 bits: 0x80000000 is a flag and does not fit an i32 as a number.
        let bits =
            number.and_then(|number| i32::try_from(number).or_else(|_| u32::try_from(number).map(|n| n as i32)).ok());
        bits.ok_or_else(|| wrong(field, "the name of a constant, or a number", value))
    }

    fn list(&self, name: &str) -> Result<&[Value], Fault> {
        match self.get(name) {
            None => Ok(&[]),
            Some(value) => value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, "a list", value)),
        }
    }
}

fn narrow(value: Option<&Value>, name: &str) -> Result<i32, Fault> {
    let value = value.unwrap_or(&Value::Null);
    let number = match (value.as_i64(), value.as_u64()) {
        (Some(number), _) => i32::try_from(number),
        (None, Some(number)) => i32::try_from(number),
        (None, None) => return Err(wrong(name, "a number", value)),
    };
    number.map_err(|error| Fault::new("std::num::TryFromIntError", None, format!("{name} {value}: {error}")))
}

fn wrong(name: &str, expected: &str, value: &Value) -> Fault {
    Fault::request(format!("`{name}`: {expected} expected, {value} came"))
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with('$'),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(fields) => fields.get("fds").is_some_and(has_reference),
        _ => false,
    }
}

fn resolve(value: &mut Value, earlier: &[Value]) -> Result<(), Fault> {
    match value {
        Value::String(text) if text.starts_with('$') => {
            let no =
                || Fault::new("Reference", None, format!("{text}: no such result among the steps before this one"));
            let mut path = text[1..].split('.');
            let step: usize = path.next().and_then(|step| step.parse().ok()).ok_or_else(no)?;
            let result = earlier.get(step).and_then(|reply| reply.get("result")).ok_or_else(no)?;
            let found = path.try_fold(result, |at, part| match at {
                Value::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
                at => at.get(part),
            });
            *value = found.filter(|found| found.is_number()).ok_or_else(no)?.clone();
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve(item, earlier)),
        Value::Object(fields) => fields.get_mut("fds").map_or(Ok(()), |fds| resolve(fds, earlier)),
        _ => Ok(()),
    }
}

/// Return `bytes` as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Return the bytes that `text` stands for, `None` where it is not hexadecimal.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}
