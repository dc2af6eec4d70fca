//! Weight matrices as they are stored: owned or memory-mapped, in f32, f16 or bf16.

use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use memmap2::Mmap;

use harness_kernels::MatrixRef;
use harness_kernels::stored::Stored;

/// Element type of a stored weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain float.
    Bf16,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// A read-only memory-mapped file.
#[derive(Debug, Clone)]
pub struct MappedFile(Arc<Mmap>);

impl MappedFile {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// Whatever opening or mapping the file reports.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = std::fs::File::open(path)?;
        // SAFETY: the mapping is read-only; checkpoints are not modified while a run uses them.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Arc::new(map)))
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, Clone)]
enum Data {
    Mapped { file: MappedFile, offset: usize, dtype: DType },
    F32(Stored<f32>),
    F16(Stored<f16>),
    Bf16(Stored<bf16>),
}

/// A matrix `(rows, cols)`, row-major; a vector has one row. Cloning shares the data.
#[derive(Debug, Clone)]
pub struct Weight {
    rows: usize,
    cols: usize,
    data: Data,
}

impl Weight {
    /// An owned f32 matrix.
    ///
    /// # Panics
    /// When `values` does not hold `rows · cols` elements.
    pub fn from_f32(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows}x{cols} matrix needs {} values", rows * cols);
        Self { rows, cols, data: Data::F32(Stored::copied(&values)) }
    }

    /// An owned bf16 matrix.
    ///
    /// # Panics
    /// When `values` does not hold `rows · cols` elements.
    pub fn from_bf16(rows: usize, cols: usize, values: Vec<bf16>) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows}x{cols} matrix needs {} values", rows * cols);
        Self { rows, cols, data: Data::Bf16(Stored::copied(&values)) }
    }

    /// A matrix of the given element type, rounded from f32 values.
    ///
    /// # Panics
    /// When `values` does not hold `rows · cols` elements.
    pub fn rounded(rows: usize, cols: usize, values: &[f32], dtype: DType) -> Self {
        assert_eq!(values.len(), rows * cols, "a {rows}x{cols} matrix needs {} values", rows * cols);
        let data = match dtype {
            DType::F32 => Data::F32(Stored::copied(values)),
            DType::F16 => Data::F16(values.iter().map(|&v| f16::from_f32(v)).collect()),
            DType::Bf16 => Data::Bf16(values.iter().map(|&v| bf16::from_f32(v)).collect()),
        };
        Self { rows, cols, data }
    }

    /// A matrix inside a mapped file. Returns `None` when the range lies outside the file.
    /// A range that is not aligned for its type is copied.
    pub fn mapped(file: &MappedFile, offset: usize, rows: usize, cols: usize, dtype: DType) -> Option<Self> {
        let length = rows.checked_mul(cols)?.checked_mul(dtype.size())?;
        let bytes = file.bytes().get(offset..offset.checked_add(length)?)?;
        let data = if (bytes.as_ptr() as usize).is_multiple_of(dtype.size()) {
            Data::Mapped { file: file.clone(), offset, dtype }
        } else {
            match dtype {
                DType::F32 => {
                    Data::F32(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
                }
                DType::F16 => Data::F16(bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect()),
                DType::Bf16 => Data::Bf16(bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]])).collect()),
            }
        };
        Some(Self { rows, cols, data })
    }

    /// Output dimension.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input dimension.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Element type as stored.
    pub fn dtype(&self) -> DType {
        match &self.data {
            Data::Mapped { dtype, .. } => *dtype,
            Data::F32(_) => DType::F32,
            Data::F16(_) => DType::F16,
            Data::Bf16(_) => DType::Bf16,
        }
    }

    /// Bytes the values take as stored.
    pub fn stored_bytes(&self) -> usize {
        self.rows * self.cols * self.dtype().size()
    }

    /// The values as the kernels read them.
    pub fn view(&self) -> MatrixRef<'_> {
        match &self.data {
            Data::F32(values) => MatrixRef::F32(values),
            Data::F16(values) => MatrixRef::F16(values),
            Data::Bf16(values) => MatrixRef::Bf16(values),
            Data::Mapped { file, offset, dtype } => {
                let bytes = &file.bytes()[*offset..*offset + self.stored_bytes()];
                MatrixRef::from_bytes(bytes, *dtype == DType::F32, *dtype == DType::Bf16)
            }
        }
    }

    /// All values in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        self.view().to_f32()
    }

    /// Number of values that are zero.
    pub fn zeros(&self) -> usize {
        match self.view() {
            MatrixRef::F32(values) => values.iter().filter(|value| **value == 0.0).count(),
            MatrixRef::F16(values) => values.iter().filter(|value| value.to_bits() << 1 == 0).count(),
            MatrixRef::Bf16(values) => values.iter().filter(|value| value.to_bits() << 1 == 0).count(),
        }
    }
}
