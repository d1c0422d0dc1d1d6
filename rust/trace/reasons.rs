// SPDX-License-Identifier: GPL-2.0

//! The reasons that tracepoints give, with the values of the kernel's own enumerations.
//!
//! C header: `include/trace/events/cachefiles.h`

use cachefiles_bindings as c;

/// The reason why a reference to an object was taken, dropped or seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RefWhy {
    /// Taken for an I/O.
    GetIoreq = c::cachefiles_obj_ref_trace_cachefiles_obj_get_ioreq,
    /// The object is new.
    New = c::cachefiles_obj_ref_trace_cachefiles_obj_new,
    /// Dropped, as the object could not be set up.
    PutAllocFail = c::cachefiles_obj_ref_trace_cachefiles_obj_put_alloc_fail,
    /// Dropped by its cookie.
    PutDetach = c::cachefiles_obj_ref_trace_cachefiles_obj_put_detach,
    /// Dropped by an I/O.
    PutIoreq = c::cachefiles_obj_ref_trace_cachefiles_obj_put_ioreq,
    /// Its file gets its name.
    SeeCleanCommit = c::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_commit,
    /// Its file is removed.
    SeeCleanDelete = c::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_delete,
    /// Its nameless file is dropped.
    SeeCleanDropTmp = c::cachefiles_obj_ref_trace_cachefiles_obj_see_clean_drop_tmp,
    /// Its cookie is looked up.
    SeeLookupCookie = c::cachefiles_obj_ref_trace_cachefiles_obj_see_lookup_cookie,
    /// The lookup failed.
    SeeLookupFailed = c::cachefiles_obj_ref_trace_cachefiles_obj_see_lookup_failed,
    /// Its cookie is withdrawn.
    SeeWithdrawCookie = c::cachefiles_obj_ref_trace_cachefiles_obj_see_withdraw_cookie,
    /// The cache is withdrawn.
    SeeWithdrawal = c::cachefiles_obj_ref_trace_cachefiles_obj_see_withdrawal,
    /// Taken for an anonymous fd.
    GetOndemandFd = c::cachefiles_obj_ref_trace_cachefiles_obj_get_ondemand_fd,
    /// Dropped by an anonymous fd.
    PutOndemandFd = c::cachefiles_obj_ref_trace_cachefiles_obj_put_ondemand_fd,
    /// Taken for a message to the daemon.
    GetReadReq = c::cachefiles_obj_ref_trace_cachefiles_obj_get_read_req,
    /// Dropped by a message to the daemon.
    PutReadReq = c::cachefiles_obj_ref_trace_cachefiles_obj_put_read_req,
}

/// The reason why a file or directory was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Killed {
    /// It is stale.
    Stale = c::fscache_why_object_killed_FSCACHE_OBJECT_IS_STALE,
    /// It is not what the cache would have made.
    Weird = c::fscache_why_object_killed_FSCACHE_OBJECT_IS_WEIRD,
    /// It was invalidated.
    Invalidated = c::fscache_why_object_killed_FSCACHE_OBJECT_INVALIDATED,
    /// There was no room for it.
    NoSpace = c::fscache_why_object_killed_FSCACHE_OBJECT_NO_SPACE,
    /// Its cookie was retired.
    Retired = c::fscache_why_object_killed_FSCACHE_OBJECT_WAS_RETIRED,
    /// The daemon culled it.
    Culled = c::fscache_why_object_killed_FSCACHE_OBJECT_WAS_CULLED,
    /// A volume is not what the cache would have made.
    VolumeWeird = c::fscache_why_object_killed_FSCACHE_VOLUME_IS_WEIRD,
}

/// The outcome of checking or setting coherency data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Coherency {
    /// The auxiliary data differs.
    CheckAux = c::cachefiles_coherency_trace_cachefiles_coherency_check_aux,
    /// The content byte differs.
    CheckContent = c::cachefiles_coherency_trace_cachefiles_coherency_check_content,
    /// The file was left dirty.
    CheckDirty = c::cachefiles_coherency_trace_cachefiles_coherency_check_dirty,
    /// The length differs.
    CheckLen = c::cachefiles_coherency_trace_cachefiles_coherency_check_len,
    /// The object's size differs.
    CheckObjsize = c::cachefiles_coherency_trace_cachefiles_coherency_check_objsize,
    /// All is as it should be.
    CheckOk = c::cachefiles_coherency_trace_cachefiles_coherency_check_ok,
    /// The type byte differs.
    CheckType = c::cachefiles_coherency_trace_cachefiles_coherency_check_type,
    /// The attribute is missing or unreadable.
    CheckXattr = c::cachefiles_coherency_trace_cachefiles_coherency_check_xattr,
    /// It could not be set.
    SetFail = c::cachefiles_coherency_trace_cachefiles_coherency_set_fail,
    /// It was set.
    SetOk = c::cachefiles_coherency_trace_cachefiles_coherency_set_ok,
    /// The data of the volume differs.
    VolCheckCmp = c::cachefiles_coherency_trace_cachefiles_coherency_vol_check_cmp,
    /// The volume is as it should be.
    VolCheckOk = c::cachefiles_coherency_trace_cachefiles_coherency_vol_check_ok,
    /// The reserved bytes are not zero.
    VolCheckResv = c::cachefiles_coherency_trace_cachefiles_coherency_vol_check_resv,
    /// The attribute of the volume is missing or unreadable.
    VolCheckXattr = c::cachefiles_coherency_trace_cachefiles_coherency_vol_check_xattr,
    /// It could not be set on the volume.
    VolSetFail = c::cachefiles_coherency_trace_cachefiles_coherency_vol_set_fail,
    /// It was set on the volume.
    VolSetOk = c::cachefiles_coherency_trace_cachefiles_coherency_vol_set_ok,
}

/// The reason why the size of a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Trunc {
    /// To the size that direct I/O needs.
    DioAdjust = c::cachefiles_trunc_trace_cachefiles_trunc_dio_adjust,
    /// A new file gets its size.
    ExpandTmpfile = c::cachefiles_trunc_trace_cachefiles_trunc_expand_tmpfile,
    /// The object became smaller.
    Shrink = c::cachefiles_trunc_trace_cachefiles_trunc_shrink,
}

/// The result of the preparation of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PrepRead {
    /// It is beyond the end of the file.
    AfterEof = c::cachefiles_prepare_read_trace_cachefiles_trace_read_after_eof,
    /// It begins in a hole.
    FoundHole = c::cachefiles_prepare_read_trace_cachefiles_trace_read_found_hole,
    /// Only its beginning is cached.
    FoundPart = c::cachefiles_prepare_read_trace_cachefiles_trace_read_found_part,
    /// All of it is cached.
    HaveData = c::cachefiles_prepare_read_trace_cachefiles_trace_read_have_data,
    /// The cookie is known to have no data.
    NoData = c::cachefiles_prepare_read_trace_cachefiles_trace_read_no_data,
    /// There is no file.
    NoFile = c::cachefiles_prepare_read_trace_cachefiles_trace_read_no_file,
    /// The file system could not tell.
    SeekError = c::cachefiles_prepare_read_trace_cachefiles_trace_read_seek_error,
    /// There is no data from there on.
    SeekNxio = c::cachefiles_prepare_read_trace_cachefiles_trace_read_seek_nxio,
}

/// The operation that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorSite {
    /// `fallocate()`
    Fallocate = c::cachefiles_error_trace_cachefiles_trace_fallocate_error,
    /// `getxattr()`
    Getxattr = c::cachefiles_error_trace_cachefiles_trace_getxattr_error,
    /// `link()`
    Link = c::cachefiles_error_trace_cachefiles_trace_link_error,
    /// A lookup of a name.
    Lookup = c::cachefiles_error_trace_cachefiles_trace_lookup_error,
    /// `mkdir()`
    Mkdir = c::cachefiles_error_trace_cachefiles_trace_mkdir_error,
    /// `notify_change()`
    NotifyChange = c::cachefiles_error_trace_cachefiles_trace_notify_change_error,
    /// `open()`
    Open = c::cachefiles_error_trace_cachefiles_trace_open_error,
    /// `read()`
    Read = c::cachefiles_error_trace_cachefiles_trace_read_error,
    /// `removexattr()`
    Remxattr = c::cachefiles_error_trace_cachefiles_trace_remxattr_error,
    /// `rename()`
    Rename = c::cachefiles_error_trace_cachefiles_trace_rename_error,
    /// `lseek()`
    Seek = c::cachefiles_error_trace_cachefiles_trace_seek_error,
    /// `setxattr()`
    Setxattr = c::cachefiles_error_trace_cachefiles_trace_setxattr_error,
    /// `statfs()`
    Statfs = c::cachefiles_error_trace_cachefiles_trace_statfs_error,
    /// `O_TMPFILE`
    Tmpfile = c::cachefiles_error_trace_cachefiles_trace_tmpfile_error,
    /// `truncate()`
    Trunc = c::cachefiles_error_trace_cachefiles_trace_trunc_error,
    /// `unlink()`
    Unlink = c::cachefiles_error_trace_cachefiles_trace_unlink_error,
    /// `write()`
    Write = c::cachefiles_error_trace_cachefiles_trace_write_error,
}
