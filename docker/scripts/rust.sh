#!/bin/sh
# rust.sh RUSTUP TOOLCHAIN-FILE PROTOC-ZIP: the Rust toolchain that a rust-toolchain.toml names, and protoc.
#
# RUSTUP and PROTOC-ZIP are files whose hashes were checked when they were fetched.
set -eu

rustup=${1:?"usage: rust.sh RUSTUP TOOLCHAIN-FILE PROTOC-ZIP"}
file=${2:?"usage: rust.sh RUSTUP TOOLCHAIN-FILE PROTOC-ZIP"}
protoc=${3:?"usage: rust.sh RUSTUP TOOLCHAIN-FILE PROTOC-ZIP"}
channel=$(sed -n 's/^channel *= *"\([^"]*\)".*/\1/p' "$file")
if [ -z "$channel" ]; then
    echo "rust.sh: $file names no channel" >&2
    exit 1
fi
cp "$rustup" /tmp/rustup-init
chmod 755 /tmp/rustup-init
/tmp/rustup-init -y --no-modify-path --profile minimal --default-toolchain "$channel"
rm /tmp/rustup-init
python3 -m zipfile -e "$protoc" /usr/local
chmod 755 /usr/local/bin/protoc
rustc --version
cargo --version
protoc --version
