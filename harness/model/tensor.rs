//! The tensor type that passes between the decoder and its callers, and views of its values.

use candle_core::{CpuStorage, Layout, Result, Storage, bail};

pub use candle_core::{Device, Error as TensorError, Tensor, Var};

/// The contiguous f32 values behind a CPU storage.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout, operation: &str) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("{operation} needs a contiguous tensor, not strides {:?}", layout.stride()),
    }
}

/// Calls `read` with the f32 values of a contiguous CPU tensor.
///
/// # Errors
/// When the tensor is not contiguous, not f32 or not on the CPU.
pub fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(read(values(storage, layout, "reading a tensor")?)),
        _ => bail!("only tensors on the CPU can be read in place"),
    }
}

/// A CPU tensor that owns `values`.
pub(crate) fn from_values(values: Vec<f32>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn values_of_a_narrowed_tensor_are_its_own() {
        let tensor = from_values((0..12).map(|v| v as f32).collect(), (4, 3)).unwrap();
        let rows = tensor.narrow(0, 1, 2).unwrap();
        assert_eq!(with_values(&rows, <[f32]>::to_vec).unwrap(), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert!(with_values(&tensor.t().unwrap(), |_| ()).is_err());
    }
}
