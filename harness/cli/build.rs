//! Puts what the program is built from into it, for the stamp of every run.

use std::process::Command;

fn main() {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let commit = output("git", &["rev-parse", "HEAD"]);
    let dirty = !output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    println!("cargo:rustc-env=HARNESS_COMMIT={commit}");
    println!("cargo:rustc-env=HARNESS_DIRTY={dirty}");
    println!("cargo:rustc-env=HARNESS_RUSTC={}", output(&variable("RUSTC"), &["--version"]));
    println!("cargo:rustc-env=HARNESS_PROFILE={}", variable("PROFILE"));
    println!("cargo:rustc-env=HARNESS_TARGET={}", variable("TARGET"));
    for path in ["HEAD", "refs/heads", "index"] {
        let path = output("git", &["rev-parse", "--git-path", path]);
        if !path.is_empty() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}
