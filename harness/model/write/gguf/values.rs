//! Named values as GGUF holds them.

/// The metadata under way.
#[derive(Debug, Default)]
pub(super) struct Values {
    bytes: Vec<u8>,
    count: u64,
}

/// Appends a text with its length in front.
pub(super) fn text_bytes(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Values {
    fn key(&mut self, key: &str, kind: u32) {
        text_bytes(key, &mut self.bytes);
        self.bytes.extend(kind.to_le_bytes());
        self.count += 1;
    }

    pub fn number(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.bytes.push(value.into());
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        text_bytes(value, &mut self.bytes);
    }

    fn list(&mut self, key: &str, element: u32, count: usize) {
        self.key(key, 9);
        self.bytes.extend(element.to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    pub fn numbers(&mut self, key: &str, values: &[i32]) {
        self.list(key, 5, values.len());
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub fn floats(&mut self, key: &str, values: &[f32]) {
        self.list(key, 6, values.len());
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub fn texts(&mut self, key: &str, values: &[String]) {
        self.list(key, 8, values.len());
        for value in values {
            text_bytes(value, &mut self.bytes);
        }
    }

    /// How many there are, and their bytes.
    pub fn finish(self) -> (u64, Vec<u8>) {
        (self.count, self.bytes)
    }
}
