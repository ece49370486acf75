//! The device mapper, by the three calls that make one device (linux/dm-ioctl.h). No library: the one that there is wants
//! udev and a C compiler.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::libc;

use crate::InitError;

/// devtmpfs makes it where the kernel has a device mapper.
const CONTROL: &str = "/dev/mapper/control";
/// What the device is called among the mapper's.
const NAME: &[u8] = b"vrouter-root";
/// The interface's version that this speaks; a kernel takes every one of its own major version.
const VERSION: [u32; 3] = [4, 0, 0];
/// `DM_READONLY_FLAG`: dm-verity makes no other device.
const READ_ONLY: u32 = 1;
/// Enough for a table with the longest salt.
const PARAMETERS: usize = 1024;

/// `struct dm_ioctl`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Header {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

/// `struct dm_target_spec`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Target {
    sector_start: u64,
    length: u64,
    status: i32,
    next: u32,
    target_type: [u8; 16],
}

/// One call: the header, and the only target of the table behind it.
#[derive(Debug)]
#[repr(C)]
struct Request {
    header: Header,
    target: Target,
    parameters: [u8; PARAMETERS],
}

const HEADER_SIZE: usize = size_of::<Header>();
/// The sizes that the kernel reckons with; and both fit the fields that name them.
const _: () =
    assert!(HEADER_SIZE == 312 && size_of::<Target>() == 40 && size_of::<Request>() == 312 + 40 + PARAMETERS);

mod calls {
    //! `DM_DEV_CREATE`, `DM_TABLE_LOAD` and `DM_DEV_SUSPEND`, which without its flag is the resumption.

    use super::{HEADER_SIZE, Request};

    const KIND: u8 = 0xfd;

    nix::ioctl_readwrite_bad!(create, nix::request_code_readwrite!(KIND, 3, HEADER_SIZE), Request);
    nix::ioctl_readwrite_bad!(load, nix::request_code_readwrite!(KIND, 9, HEADER_SIZE), Request);
    nix::ioctl_readwrite_bad!(resume, nix::request_code_readwrite!(KIND, 6, HEADER_SIZE), Request);
}

/// Makes a device of `sectors` sectors by dm-verity's table and tells its file.
///
/// # Errors
/// The kernel has no device mapper or no dm-verity, or refuses the table.
pub(crate) fn verified(table: &str, sectors: u64) -> Result<PathBuf, InitError> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(CONTROL)
        .map_err(InitError::refused("open", CONTROL))?;
    let mut create = Request::new("", 0)?;
    call(&control, calls::create, &mut create)
        .map_err(InitError::refused("create", "the verified device"))?;
    call(&control, calls::load, &mut Request::new(table, sectors)?)
        .map_err(InitError::refused("load", format!("the table {table}")))?;
    call(&control, calls::resume, &mut Request::new("", 0)?)
        .map_err(InitError::refused("start", "the verified device"))?;
    let minor = libc::minor(create.header.dev);
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

impl Request {
    /// A request with one target; the calls that want none ignore it.
    fn new(table: &str, sectors: u64) -> Result<Self, InitError> {
        let refused = |reason: &str| InitError::refused("write", format!("the table {table}"))(reason);
        let mut request = Self {
            header: Header {
                version: VERSION,
                data_size: u32::try_from(size_of::<Self>()).map_err(|_| refused("it is too long"))?,
                data_start: u32::try_from(HEADER_SIZE).map_err(|_| refused("it is too long"))?,
                target_count: 1,
                open_count: 0,
                flags: READ_ONLY,
                event_nr: 0,
                padding: 0,
                dev: 0,
                name: [0; 128],
                uuid: [0; 129],
                data: [0; 7],
            },
            target: Target { sector_start: 0, length: sectors, status: 0, next: 0, target_type: [0; 16] },
            parameters: [0; PARAMETERS],
        };
        place(&mut request.header.name, NAME).ok_or_else(|| refused("the name is too long"))?;
        place(&mut request.target.target_type, b"verity").ok_or_else(|| refused("the name is too long"))?;
        place(&mut request.parameters, table.as_bytes()).ok_or_else(|| refused("it is too long"))?;
        Ok(request)
    }
}

/// Writes a text of C: a zero follows it.
fn place(field: &mut [u8], text: &[u8]) -> Option<()> {
    (text.len() < field.len())
        .then(|| field.get_mut(..text.len()).map(|start| start.copy_from_slice(text)))?
}

type Call = unsafe fn(libc::c_int, *mut Request) -> nix::Result<libc::c_int>;

#[expect(
    unsafe_code,
    reason = "the kernel has no other way to be told, and no crate wraps it without a C library"
)]
fn call(control: &File, function: Call, request: &mut Request) -> nix::Result<()> {
    // SAFETY: the request is of the layout that the kernel knows, which is asserted above; it says its own size, within
    // which the kernel reads and writes, and it outlives the call.
    unsafe { function(control.as_raw_fd(), request) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_kernel_reads_it() {
        let request = Request::new("1 254:2", 80).unwrap();
        assert_eq!(request.header.data_size as usize, size_of::<Request>());
        assert_eq!(request.header.data_start as usize, std::mem::offset_of!(Request, target));
        assert_eq!(std::mem::offset_of!(Request, parameters), 352);
        assert_eq!(std::mem::offset_of!(Header, name), 48);
        assert!(request.header.name.starts_with(b"vrouter-root\0"));
        assert!(request.target.target_type.starts_with(b"verity\0"));
        assert_eq!(request.target.length, 80);
        assert!(request.parameters.starts_with(b"1 254:2\0"));
    }

    #[test]
    fn a_table_that_does_not_fit_is_refused() {
        assert!(Request::new(&"x".repeat(PARAMETERS - 1), 1).is_ok());
        assert!(Request::new(&"x".repeat(PARAMETERS), 1).is_err());
    }
}
