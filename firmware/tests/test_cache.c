/* What goes to the cache registers of a Cortex-M7, in which order: emulators have no caches. */
#include <stdint.h>
#include <string.h>

#include "check.h"

#define VP_REGISTER(address) (*touch(address))
#define VP_CORE_BARRIER() after_write()

static volatile uint32_t *touch(uint32_t address);
static void after_write(void);

#undef __ARM_ARCH
#define __ARM_ARCH 7
#include "../boards/common/cortex_m/cache.c"

#define WAYS 4u
#define SETS 32u /* 4 KB, as the STM32F746 has. */
#define F746_CCSIDR ((SETS - 1u) << 13 | (WAYS - 1u) << 3 | 1u)
#define NOTHING 0xFFFFFFFFu

enum { REG_CLIDR, REG_CCR, REG_CCSIDR, REG_CSSELR, REG_ICIALLU, REG_LINE, REGISTERS };

static volatile uint32_t registers[REGISTERS];
static uint32_t line_address;
static unsigned set_way[WAYS][SETS];
static uint32_t lines[64];
static unsigned line_count;
static unsigned invalidated_icache;
static unsigned early; /* Sets and ways invalidated while the cache was on. */

/* A write through the pointer of the access before is seen at the next one. */
static void after_write(void)
{
    if (registers[REG_LINE] != NOTHING) {
        const uint32_t value = registers[REG_LINE];
        registers[REG_LINE] = NOTHING;
        if (line_address == 0xE000EF60u) {
            CHECK((value & 0x3FFFFC1Fu) == 0u);
            set_way[value >> 30][value >> 5 & (SETS - 1u)]++;
            early += (registers[REG_CCR] & 1u << 16) != 0u;
        } else if (line_count < sizeof(lines) / sizeof(lines[0])) {
            lines[line_count++] = value;
        }
    }
    if (registers[REG_ICIALLU] != NOTHING) {
        CHECK((registers[REG_CCR] & 1u << 17) == 0u);
        registers[REG_ICIALLU] = NOTHING;
        invalidated_icache++;
    }
}

static volatile uint32_t *touch(uint32_t address)
{
    after_write();
    switch (address) {
    case 0xE000ED78u:
        return &registers[REG_CLIDR];
    case 0xE000ED14u:
        return &registers[REG_CCR];
    case 0xE000ED80u:
        return &registers[REG_CCSIDR];
    case 0xE000ED84u:
        return &registers[REG_CSSELR];
    case 0xE000EF50u:
        return &registers[REG_ICIALLU];
    default:
        CHECK(address == 0xE000EF5Cu || address == 0xE000EF60u || address == 0xE000EF68u);
        line_address = address;
        return &registers[REG_LINE];
    }
}

static void new_core(uint32_t clidr)
{
    registers[REG_CLIDR] = clidr;
    registers[REG_CCR] = 1u << 9;
    registers[REG_CCSIDR] = F746_CCSIDR;
    registers[REG_CSSELR] = 1;
    registers[REG_ICIALLU] = NOTHING;
    registers[REG_LINE] = NOTHING;
    memset(set_way, 0, sizeof(set_way));
    line_count = 0;
    invalidated_icache = 0;
    early = 0;
}

static void test_enabling(void)
{
    new_core(3);
    vp_core_enable_caches();
    CHECK(registers[REG_CCR] == (1u << 9 | 1u << 16 | 1u << 17));
    CHECK(registers[REG_CSSELR] == 0u && invalidated_icache == 1u && early == 0u);
    for (unsigned way = 0; way < WAYS; way++) {
        for (unsigned set = 0; set < SETS; set++) {
            CHECK(set_way[way][set] == 1u);
        }
    }
    vp_core_enable_caches();
    CHECK(set_way[0][0] == 1u && invalidated_icache == 1u);
}

static void test_core_without(void)
{
    new_core(0);
    vp_core_enable_caches();
    vp_core_clean_dcache((const void *)0x20000000, 64);
    CHECK(registers[REG_CCR] == 1u << 9 && set_way[0][0] == 0u && line_count == 0u);
    new_core(1);
    vp_core_enable_caches();
    CHECK(registers[REG_CCR] == (1u << 9 | 1u << 17) && set_way[0][0] == 0u);
}

static void check_lines(uintptr_t begin, size_t size, uint32_t first, unsigned count)
{
    for (unsigned invalidate = 0; invalidate < 2; invalidate++) {
        new_core(3);
        vp_core_enable_caches();
        if (!invalidate) {
            vp_core_clean_dcache((const void *)begin, size);
            CHECK(count == 0u || line_address == 0xE000EF68u);
        } else {
            vp_core_invalidate_dcache((const void *)begin, size);
            CHECK(count == 0u || line_address == 0xE000EF5Cu);
        }
        CHECK(line_count == count);
        for (unsigned i = 0; i < count; i++) {
            CHECK(lines[i] == first + i * 32u);
        }
    }
}

static void test_lines(void)
{
    check_lines(0x20010000, 0, 0, 0);
    check_lines(0x20010000, 32, 0x20010000, 1);
    check_lines(0x2001001F, 1, 0x20010000, 1);
    check_lines(0x2001001F, 2, 0x20010000, 2);
    check_lines(0x20010004, 64, 0x20010000, 3);
    check_lines(0x20010020, 1536, 0x20010020, 48);
}

int main(void)
{
    test_enabling();
    test_core_without();
    test_lines();
    CHECK_DONE();
}
