//! A request as bytes in which only the digits of the keys change.

use crate::load::Workload;
use crate::wire::{DIGITS, Protocol, digits, filler, put_value};

/// The bytes of a request and where the digits go.
pub(crate) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
}

/// Room for the digits of the `nth` key.
struct Slot {
    at: usize,
    nth: u32,
}

impl Template {
    /// The read of as many keys as the workload asks for at a time.
    pub(crate) fn read(workload: &Workload) -> Self {
        let (protocol, keys) = (workload.protocol, workload.keys_per_read);
        let prefix = workload.key_prefix();
        let mut this = Self { bytes: Vec::new(), slots: Vec::new() };
        match (protocol, keys) {
            (Protocol::Memcache, _) => this.text(if workload.meta { "mg" } else { "get" }),
            (Protocol::Redis, 1) => this.text("*2\r\n$3\r\nGET\r\n"),
            (Protocol::Redis, _) => this.text(&format!("*{}\r\n$4\r\nMGET\r\n", keys + 1)),
        }
        for nth in 0..keys {
            match protocol {
                Protocol::Memcache => this.text(&format!(" {prefix}")),
                Protocol::Redis => this.text(&format!("${}\r\n{prefix}", prefix.len() + DIGITS)),
            }
            this.slot(nth);
            if protocol == Protocol::Redis {
                this.text("\r\n");
            }
        }
        if protocol == Protocol::Memcache {
            this.text(if workload.meta { " v\r\n" } else { "\r\n" });
        }
        this
    }

    /// The write of one value.
    pub(crate) fn write(workload: &Workload) -> Self {
        let Workload { protocol, value_bytes, .. } = *workload;
        let prefix = workload.key_prefix();
        let mut this = Self { bytes: Vec::new(), slots: Vec::new() };
        let key_bytes = prefix.len() + DIGITS;
        match protocol {
            Protocol::Memcache => this.text(&format!("set {prefix}")),
            Protocol::Redis => this.text(&format!("*3\r\n$3\r\nSET\r\n${key_bytes}\r\n{prefix}")),
        }
        this.slot(0);
        match protocol {
            Protocol::Memcache => this.text(&format!(" 0 0 {value_bytes}\r\n")),
            Protocol::Redis => this.text(&format!("\r\n${value_bytes}\r\n")),
        }
        let at = this.bytes.len();
        put_value(&mut this.bytes, &[0; DIGITS], &filler(value_bytes));
        this.slots.push(Slot { at, nth: 0 });
        this.slots.push(Slot { at: this.bytes.len() - DIGITS, nth: 0 });
        this.text("\r\n");
        this
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn slot(&mut self, nth: u32) {
        self.slots.push(Slot { at: self.bytes.len(), nth });
        self.bytes.extend_from_slice(&[0; DIGITS]);
    }

    /// Appends the request for the key `base`, and those that follow, of `keys` in all.
    pub(crate) fn stamp(&self, out: &mut Vec<u8>, base: u32, keys: u32) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for slot in &self.slots {
            let at = start + slot.at;
            out[at..at + DIGITS].copy_from_slice(&digits((base + slot.nth) % keys));
        }
    }
}
