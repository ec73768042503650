//! Turns a core WebAssembly module into a step component and refuses one that is more than a pure function.
//!
//! A plugin's promise is that it can reach nothing: so the check here looks at what the finished component imports,
//! not at what its author meant. Allowed are the bounded log of `lucius:step` and its types, which hold no function.
//! Nothing here touches a file or prints, so that any tool that builds plugins can use it.

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

/// The contract that a component is made for.
pub(crate) const PACKAGE: &str = "lucius:step";
/// Its version.
pub(crate) const VERSION: &str = "1.0.0";

/// A component that keeps the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    /// The binary.
    pub(crate) bytes: Vec<u8>,
    /// SHA-256 of `bytes`, 64 lower-case hexadecimal digits.
    pub(crate) sha256: String,
}

/// Why a module is not a step plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The module has no interface description, or is no core module at all.
    #[error("not a module built with the step SDK: {0}")]
    NotAModule(String),
    /// The finished component could not be read back.
    #[error("the encoded component cannot be read back: {0}")]
    Unreadable(String),
    /// It asks for something that a step plugin may not have.
    #[error(
        "imports {0}, but a step plugin may only import {PACKAGE}/log@{VERSION}; remove what uses it"
    )]
    Import(String),
    /// It does not implement the contract.
    #[error("does not export {PACKAGE}/handler@{VERSION}; implement the handler and export it")]
    NoHandler,
}

/// Wraps a core module, which carries its interface description as a custom section, and checks the result.
///
/// # Errors
/// When the module carries no description, or the component imports or exports anything but the contract's own.
pub(crate) fn encode(module: &[u8]) -> Result<Component, Error> {
    let refused = |error: anyhow::Error| Error::NotAModule(one_line(&error));
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).map_err(refused)?;
    let bytes = encoder.encode().map_err(refused)?;
    inspect(&bytes)?;
    let sha256 = sha256_hex(&bytes);
    Ok(Component { bytes, sha256 })
}

/// Checks that a component imports nothing but the log, and exports the handler.
///
/// # Errors
/// See [`Error`].
pub(crate) fn inspect(component: &[u8]) -> Result<(), Error> {
    let decoded =
        wit_component::decode(component).map_err(|error| Error::Unreadable(one_line(&error)))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(Error::Unreadable(
            "it is a WIT package, not a component".to_owned(),
        ));
    };
    let world = &resolve.worlds[world];
    let log = format!("{PACKAGE}/log@{VERSION}");
    let types = format!("{PACKAGE}/types@{VERSION}");
    for (key, _) in &world.imports {
        let name = resolve.name_world_key(key);
        if name != log && name != types {
            return Err(Error::Import(name));
        }
    }
    let handler = format!("{PACKAGE}/handler@{VERSION}");
    if world
        .exports
        .keys()
        .any(|key| resolve.name_world_key(key) == handler)
    {
        Ok(())
    } else {
        Err(Error::NoHandler)
    }
}

/// SHA-256 as lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_module_are_refused_with_a_reason() {
        assert!(matches!(encode(b"hello"), Err(Error::NotAModule(reason)) if !reason.is_empty()));
    }

    #[test]
    fn a_module_without_an_interface_description_implements_nothing() {
        let empty_module = b"\0asm\x01\0\0\0";
        assert_eq!(encode(empty_module), Err(Error::NoHandler));
    }

    #[test]
    fn a_component_that_imports_files_is_refused_by_the_name_of_the_import() {
        // (component (import "wasi:filesystem/types@0.2.0" (instance)))
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        bytes.extend([0x07, 0x03, 0x01, 0x42, 0x00]); // type section: one empty instance type
        let name = b"wasi:filesystem/types@0.2.0";
        let length = u8::try_from(name.len()).expect("the name is short");
        bytes.extend([0x0a, length + 5, 0x01, 0x00, length]);
        bytes.extend(name);
        bytes.extend([0x05, 0x00]);
        assert_eq!(
            inspect(&bytes),
            Err(Error::Import("wasi:filesystem/types@0.2.0".to_owned()))
        );
    }

    #[test]
    fn a_digest_is_written_as_sixty_four_lower_case_digits() {
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
