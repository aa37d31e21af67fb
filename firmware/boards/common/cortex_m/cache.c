/* Caches of Cortex-M7 and Cortex-M55: Armv7-M Architecture Reference Manual (DDI 0403), B2.2 and B3.2;
 * the registers of Armv8-M (DDI 0553) are the same. */
#include "core.h"

#if __ARM_ARCH >= 7

#define CCR VP_REGISTER(0xE000ED14u)
#define CCR_DATA_CACHE (1u << 16)
#define CCR_INSTRUCTION_CACHE (1u << 17)
#define CLIDR VP_REGISTER(0xE000ED78u)
#define CLIDR_LEVEL_1_INSTRUCTION 1u
#define CLIDR_LEVEL_1_DATA 2u
#define CCSIDR VP_REGISTER(0xE000ED80u)
#define CSSELR VP_REGISTER(0xE000ED84u)
#define LEVEL_1_DATA 0u
#define ICIALLU VP_REGISTER(0xE000EF50u)
#define DCIMVAC 0xE000EF5Cu
#define DCISW VP_REGISTER(0xE000EF60u)
#define DCCMVAC 0xE000EF68u

/* After a reset the data cache holds anything: each set and way is invalidated before it is used. */
static void invalidate_whole_dcache(void)
{
    CSSELR = LEVEL_1_DATA;
    VP_CORE_BARRIER();
    const uint32_t geometry = CCSIDR;
    const uint32_t line_shift = (geometry & 7u) + 4u;
    const uint32_t last_way = geometry >> 3 & 0x3FFu;
    const uint32_t last_set = geometry >> 13 & 0x7FFFu;
    const unsigned way_shift = last_way == 0u ? 0u : (unsigned)__builtin_clz(last_way);
    for (uint32_t way = 0; way <= last_way; way++) {
        for (uint32_t set = 0; set <= last_set; set++) {
            DCISW = way << way_shift | set << line_shift;
        }
    }
}

void vp_core_enable_caches(void)
{
    if ((CLIDR & CLIDR_LEVEL_1_INSTRUCTION) != 0u && (CCR & CCR_INSTRUCTION_CACHE) == 0u) {
        VP_CORE_BARRIER();
        ICIALLU = 0;
        VP_CORE_BARRIER();
        CCR |= CCR_INSTRUCTION_CACHE;
    }
    if ((CLIDR & CLIDR_LEVEL_1_DATA) != 0u && (CCR & CCR_DATA_CACHE) == 0u) {
        invalidate_whole_dcache();
        VP_CORE_BARRIER();
        CCR |= CCR_DATA_CACHE;
    }
    VP_CORE_BARRIER();
}

static void for_each_line(uint32_t operation, const volatile void *data, size_t size)
{
    const uint32_t begin = (uint32_t)(uintptr_t)data;
    if (size == 0u || (CCR & CCR_DATA_CACHE) == 0u) {
        return;
    }
    VP_CORE_BARRIER();
    for (uint32_t line = begin & ~(VP_CORE_CACHE_LINE - 1u); line < begin + (uint32_t)size;
         line += VP_CORE_CACHE_LINE) {
        VP_REGISTER(operation) = line;
    }
    VP_CORE_BARRIER();
}

void vp_core_clean_dcache(const volatile void *data, size_t size)
{
    for_each_line(DCCMVAC, data, size);
}

void vp_core_invalidate_dcache(const volatile void *data, size_t size)
{
    for_each_line(DCIMVAC, data, size);
}

#else

void vp_core_enable_caches(void)
{
}

void vp_core_clean_dcache(const volatile void *data, size_t size)
{
    (void)data;
    (void)size;
}

void vp_core_invalidate_dcache(const volatile void *data, size_t size)
{
    (void)data;
    (void)size;
}

#endif
