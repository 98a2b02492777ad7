// SPDX-License-Identifier: MIT
#include "tools/vmkeys.h"

#include <string.h>

static const char *const honoured[] = {
	"cap", "cmdline", "cpu_weight", "extra", "kernel", "maxmem", "memory", "name", "on_crash", "on_poweroff",
	"on_reboot", "ramdisk", "root", "serial", "type", "tz_mem_min", "tz_mem_shares", "tz_share", "vcpus",
};

// What xl_parse.c of Xen 4.17 reads besides.
static const char *const known[] = {
	"acpi", "acpi_firmware", "acpi_laptop_slate", "acpi_s3", "acpi_s4", "altp2m", "altp2m_count", "altp2mhvm",
	"apic", "arm_sci", "bios", "bios_path_override", "boot", "bootloader", "bootloader_args",
	"bootloader_restrict", "bootloader_user", "builder", "channel", "cpuid", "cpus", "cpus_soft",
	"device_model", "device_model_args", "device_model_override", "device_model_stubdomain_override",
	"device_model_stubdomain_seclabel", "device_model_user", "device_model_version", "device_tree", "disk",
	"display", "dm_restrict", "driver_domain", "dtdev", "e820_host", "firmware", "firmware_override",
	"gfx_passthru", "gic_version", "hap", "hdtype", "hpet", "hvm_pirq", "init_seclabel", "iomem", "ioports",
	"irqs", "keymap", "llc_colors", "localtime", "max_event_channels", "max_grant_frames", "max_grant_version",
	"max_maptrack_frames", "maxvcpus", "mca_caps", "mmio_hole", "ms_vm_genid", "msr_relaxed", "nestedhvm",
	"nographic", "nomigrate", "nr_spis", "nx", "on_soft_reset", "on_watchdog", "oos", "opengl", "p9", "pae",
	"passthrough", "pci", "pci_msitranslate", "pci_permissive", "pci_power_mgmt", "pci_seize", "pool",
	"pvcalls", "pvshim", "pvshim_cmdline", "pvshim_extra", "pvshim_path", "rdm", "rdm_mem_boundary",
	"rtc_timeoffset", "sdl", "seclabel", "shadow_memory", "smbios", "smbios_firmware", "soundhw", "spice",
	"spice_clipboard_sharing", "spice_image_compression", "spice_streaming_video", "spiceagent_mouse",
	"spicedisable_ticketing", "spicehost", "spicepasswd", "spiceport", "spicetls_port", "spiceusbredirection",
	"spicevdagent", "stdvga", "stubdomain_cmdline", "stubdomain_kernel", "stubdomain_memory",
	"stubdomain_ramdisk", "sve", "tee", "timer_mode", "trap_unmapped_accesses", "tsc_mode", "usb", "usbctrl",
	"usbdev", "usbdevice", "usbversion", "uuid", "vdispl", "vendor_device", "vfb", "vga", "videoram", "vif",
	"viridian", "virtio", "vkb", "vkb_device", "vmtrace_buf_kb", "vnc", "vncdisplay", "vnclisten", "vncpasswd",
	"vncunused", "vncviewer", "vnuma", "vpmu", "vpt_align", "vsnd", "vtpm", "vuart", "xauthority",
	"xen_platform_pci", "xen_platform_pci_bar_uc", "xend_suspend_evtchn_compat", "xenstore_feature_mask",
	"xenstore_quota",
};

static bool among(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

enum vmkey_class vmkey_class(const char *name)
{
	if (among(honoured, ARRAY_SIZE(honoured), name))
		return VMKEY_HONOURED;
	return among(known, ARRAY_SIZE(known), name) ? VMKEY_KNOWN : VMKEY_UNKNOWN;
}
