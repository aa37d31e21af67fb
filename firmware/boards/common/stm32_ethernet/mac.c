#include "mac.h"

#include "core.h"

#define ETH_BASE 0x40028000u

uint32_t vp_mac_read(uint32_t offset)
{
    return VP_REGISTER(ETH_BASE + offset);
}

void vp_mac_write(uint32_t offset, uint32_t value)
{
    VP_REGISTER(ETH_BASE + offset) = value;
}

void vp_mac_order(void)
{
    __asm volatile("dsb" ::: "memory");
}

uint32_t vp_mac_address(const volatile void *memory)
{
    return (uint32_t)(uintptr_t)memory;
}
