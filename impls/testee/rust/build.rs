//! Records which compiler builds the testee: `hello` tells it as the runtime.

use std::{env, process::Command};

fn main() {
    let compiler = env::var_os("RUSTC").expect("cargo sets RUSTC for build scripts");
    let output = Command::new(&compiler).arg("--version").output().expect("the compiler tells its version");
    println!("cargo:rustc-env=FDSPEC_RUSTC={}", String::from_utf8_lossy(&output.stdout).trim());
    println!("cargo:rerun-if-changed=build.rs");
}
