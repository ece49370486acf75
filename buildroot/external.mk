include $(sort $(wildcard $(BR2_EXTERNAL_VROUTER_PATH)/package/*/*.mk))

# The kernel is that of image/kernel/config to the last option, and the same as in the image of Debian's packages. Buildroot
# would turn on what systemd may use somewhere, user namespaces among it, which this appliance keeps off.
ifneq ($(findstring $(BR2_EXTERNAL_VROUTER_PATH)/../image/kernel/config,$(BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE)),)
define LINUX_KCONFIG_FIXUP_CMDS
endef
endif
