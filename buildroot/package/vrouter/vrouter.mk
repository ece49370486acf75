################################################################################
#
# vrouter
#
################################################################################

VROUTER_VERSION = 0.1.0
VROUTER_LICENSE = GPL-3.0-or-later
# Given programs come without it.
VROUTER_LICENSE_FILES = $(if $(BR2_PACKAGE_VROUTER_PREBUILT),,LICENSE)

# The first program of the initramfs goes beside the kernel; the root does not hold it.
VROUTER_INSTALL_IMAGES = YES

define VROUTER_USERS
	vrouter -1 vrouter -1 * /var/lib/vrouter - - vrouter service
endef

# The same unit as everywhere.
define VROUTER_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(BR2_EXTERNAL_VROUTER_PATH)/../systemd/vrouterd.service \
		$(TARGET_DIR)/usr/lib/systemd/system/vrouterd.service
endef

ifeq ($(BR2_PACKAGE_VROUTER_PREBUILT),y)

VROUTER_SITE = $(call qstrip,$(BR2_PACKAGE_VROUTER_PREBUILT_DIR))
VROUTER_SITE_METHOD = local

define VROUTER_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/vrouterd $(TARGET_DIR)/usr/bin/vrouterd
	$(INSTALL) -D -m 0755 $(@D)/vrctl $(TARGET_DIR)/usr/bin/vrctl
endef

define VROUTER_INSTALL_IMAGES_CMDS
	$(INSTALL) -D -m 0755 $(@D)/vrouter-init $(BINARIES_DIR)/vrouter-init
endef

$(eval $(generic-package))

else # BR2_PACKAGE_VROUTER_PREBUILT

# buildroot/source makes the tarball and the file of its hash.
VROUTER_SITE = $(BR2_EXTERNAL_VROUTER_PATH)/dist
VROUTER_SITE_METHOD = file
VROUTER_SOURCE = vrouter-$(VROUTER_VERSION).tar.xz

# The bindings to nf_tables are made from the kernel's headers by libclang.
VROUTER_DEPENDENCIES += host-clang

VROUTER_CARGO_ENV = \
	LIBCLANG_PATH=$(HOST_DIR)/lib \
	BINDGEN_EXTRA_CLANG_ARGS=--sysroot=$(STAGING_DIR)

# Cargo.toml says how the programs are optimised; Buildroot says otherwise in the environment unless it is told again.
VROUTER_CARGO_ENV += \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
	CARGO_PROFILE_RELEASE_LTO=thin \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=3

VROUTER_CARGO_BUILD_OPTS = --bin vrouterd --bin vrctl

VROUTER_PROFILE = $(if $(BR2_ENABLE_DEBUG),debug,release)
VROUTER_INIT_DIR = target-init

# The initramfs has no library: its program is linked statically, small, and apart from the others.
define VROUTER_BUILD_INIT
	cd $(@D) && \
	$(TARGET_MAKE_ENV) \
		$(TARGET_CONFIGURE_OPTS) \
		$(PKG_CARGO_ENV) \
		CARGO_TARGET_DIR=$(VROUTER_INIT_DIR) \
		RUSTFLAGS="-C target-feature=+crt-static" \
		CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
		CARGO_PROFILE_RELEASE_LTO=thin \
		CARGO_PROFILE_RELEASE_OPT_LEVEL=s \
		CARGO_PROFILE_RELEASE_PANIC=abort \
		cargo build \
			--offline \
			$(if $(BR2_ENABLE_DEBUG),,--release) \
			--locked \
			--no-default-features \
			--features init \
			--bin vrouter-init
endef
VROUTER_POST_BUILD_HOOKS += VROUTER_BUILD_INIT

# `cargo install` would build everything once more.
define VROUTER_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/$(VROUTER_PROFILE)/vrouterd \
		$(TARGET_DIR)/usr/bin/vrouterd
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/$(VROUTER_PROFILE)/vrctl \
		$(TARGET_DIR)/usr/bin/vrctl
endef

define VROUTER_INSTALL_IMAGES_CMDS
	$(INSTALL) -D -m 0755 $(@D)/$(VROUTER_INIT_DIR)/$(RUSTC_TARGET_NAME)/$(VROUTER_PROFILE)/vrouter-init \
		$(BINARIES_DIR)/vrouter-init
endef

$(eval $(cargo-package))

endif # BR2_PACKAGE_VROUTER_PREBUILT
