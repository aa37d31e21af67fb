/* boards/common/stm32 on a simulated chip: clock tree, reset cause, serial line, watchdog, flash. */
#include "stm32_chip.h"

#include "flash.h"
#include "serial_ring.h"

#define PAGE VP_BOARD_JOURNAL_ADDRESS
#define SECTOR ((VP_BOARD_JOURNAL_ADDRESS - FLASH) / VP_BOARD_JOURNAL_PAGE_SIZE)
#define USART_BASE (0x40004000u + 0x400u * (VP_STM32_USART - 1u))
#define OSC_IN (VP_STM32_HSE_BYPASS ? CLOCK : CRYSTAL)

uint64_t vp_board_now_us(void)
{
    return chip.accesses;
}

static void check_runs_at_speed(const char *context, int from_hse)
{
    check_context = context;
    chip.violations = 0;
    vp_stm32_start_clock();
    (void)*stm32_register(RCC);
    CHECK(sysclk_khz() == VP_BOARD_CLOCK_HZ / 1000u);
    CHECK(sysclk_khz() / apb_divider(10) == VP_STM32_PCLK1_HZ / 1000u);
    CHECK(field(*at(RCC + 4u), 22, 1) == (unsigned)from_hse);
    CHECK(field(*at(RCC), 16, 1) == (unsigned)from_hse);
    CHECK(field(*at(RCC + 4u), 28, 4) == 2u);
    CHECK(VP_STM32_F7 || field(*at(FLASH_IF), 8, 3) == (chip.debug[0] == 0x411u ? 6u : 7u));
    CHECK(chip.violations == 0u);
}

static void test_clock(void)
{
    power_on(OSC_IN);
    check_runs_at_speed("from the 8 MHz input", 1);
    power_on(NONE);
    check_runs_at_speed("without the 8 MHz input", 0);
    power_on(OSC_IN);
    chip.debug[0] = 0x411;
    check_runs_at_speed("first silicon", 1);

    /* 60 MHz from the internal oscillator. */
    power_on(OSC_IN);
    *at(RCC) = chip.seen_cr = 0x03000083;
    *at(RCC + 4u) = chip.seen_pllcfgr = 0x24000000u | 60u << 6 | 8u;
    *at(RCC + 8u) = chip.seen_cfgr = 0x100Au;
    *at(FLASH_IF) = 2;
    check_runs_at_speed("after a bootloader", 1);

    check_context = "a PLL that does not lock";
    power_on(OSC_IN);
    chip.unlocking = 1;
    vp_stm32_start_clock();
    CHECK(sysclk_khz() == 16000u && chip.violations == 0u);

    check_context = "an emulator without clocks";
    power_on(NONE);
    chip.dead = 1;
    vp_stm32_start_clock();
    CHECK(chip.accesses < 5000u);
    check_context = "";
}

static void test_reset_cause(void)
{
    static const struct {
        uint32_t flags;
        uint8_t cause;
    } cases[] = {
        {0x00000000u, VP_RESET_UNKNOWN},  {0x0E000000u, VP_RESET_POWER},
        {0x06000000u, VP_RESET_POWER},    {0x04000000u, VP_RESET_EXTERNAL},
        {0x14000000u, VP_RESET_EXTERNAL}, {0x24000000u, VP_RESET_WATCHDOG},
        {0x44000000u, VP_RESET_WATCHDOG}, {0x84000000u, VP_RESET_EXTERNAL},
        {0x2E000000u, VP_RESET_POWER},    {0x34000000u, VP_RESET_WATCHDOG},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        power_on(OSC_IN);
        *at(RCC + 0x74u) = cases[i].flags | 3u;
        CHECK(vp_board_hardware_reset_cause() == cases[i].cause);
        CHECK((*at(RCC + 0x74u) & 0x01000003u) == 0x01000003u);
    }
}

static void check_pin(uint8_t pin, unsigned function, unsigned pull)
{
    const uint32_t port = 0x40020000u + 0x400u * (pin >> 4);
    const unsigned number = pin & 15u;
    CHECK(field(*at(RCC + 0x30u), pin >> 4, 1) == 1u);
    CHECK(field(*at(port), 2u * number, 2) == 2u);
    CHECK(field(*at(port + 0x20u + (number < 8u ? 0u : 4u)), 4u * (number % 8u), 4) == function);
    CHECK(field(*at(port + 8u), 2u * number, 2) == 3u);
    CHECK(field(*at(port + 0xCu), 2u * number, 2) == pull);
}

static void test_serial(void)
{
    static const uint8_t sent[] = {0, 1, 255, 3};
    uint8_t received[8];
    power_on(OSC_IN);
    vp_stm32_usart_start();
    const uint32_t cr1 = *at(USART_BASE + (VP_STM32_F7 ? 0u : 0xCu));
    const uint32_t brr = *at(USART_BASE + (VP_STM32_F7 ? 0xCu : 8u));
    CHECK(cr1 == (VP_STM32_F7 ? 0x2Du : 0x202Cu));
    const uint32_t baud = VP_BOARD_CLOCK_HZ / 4u / brr;
    CHECK(baud > 114600u && baud < 115800u);
    CHECK(field(*at(RCC + 0x40u), 15u + VP_STM32_USART, 1) == 1u);
    CHECK(field(*at(RCC + 0x20u), 15u + VP_STM32_USART, 1) == 0u);
    CHECK(chip.interrupt == (VP_STM32_USART == 2 ? 38u : 39u));
    check_pin(VP_STM32_USART_TX, 7, 0);
    check_pin(VP_STM32_USART_RX, 7, 1);

    uint32_t *status = at(USART_BASE + (VP_STM32_F7 ? 0x1Cu : 0u));
    for (unsigned overrun = 0; overrun < 2u; overrun++) {
        chip.incoming = sent;
        chip.incoming_count = sizeof(sent);
        *status |= 1u << 5 | overrun << 3;
        CHECK(!vp_serial_waiting());
        vp_stm32_usart_interrupt();
        CHECK(vp_serial_waiting());
        CHECK(vp_board_serial_read(received, sizeof(received)) == sizeof(sent));
        CHECK(memcmp(received, sent, sizeof(sent)) == 0);
        CHECK((*status & 1u << 3) == 0u);
    }
    /* An overrun whose byte is gone already must not raise the interrupt for ever. */
    *status |= 1u << 3;
    vp_stm32_usart_interrupt();
    (void)*stm32_register(USART_BASE);
    CHECK((*status & 1u << 3) == 0u && !vp_serial_waiting());

    vp_board_serial_write(sent + 3, 1, 1000);
    CHECK(*at(USART_BASE + (VP_STM32_F7 ? 0x28u : 4u)) == 3u);
}

#ifdef VP_STM32_RMII_PINS
static void test_rmii(void)
{
    static const uint8_t pins[] = {VP_STM32_RMII_PINS};
    power_on(OSC_IN);
    vp_stm32_start_rmii();
    (void)*stm32_register(RCC);
    CHECK(*at(0x40013804u) == 1u << 23 && chip.violations == 0u);
    CHECK(field(*at(RCC + 0x30u), 25, 3) == 7u && field(*at(RCC + 0x10u), 25, 1) == 0u);
    CHECK(sizeof(pins) == 9u);
    for (unsigned i = 0; i < sizeof(pins); i++) {
        check_pin(pins[i], 11, 0);
    }
}
#endif

/* At least watchdog_ms with the fastest oscillator, and not over three times that with the slowest. */
static void test_watchdog(void)
{
    power_on(OSC_IN);
    vp_stm32_start_watchdog();
    settle_watchdog();
    CHECK(chip.watchdog_on && chip.fed == 1u);
    CHECK(chip.reload <= 0xFFFu && chip.prescaler * chip.reload / 47u >= VP_BOARD_WATCHDOG_MS);
    CHECK(chip.prescaler * chip.reload / 17u <= 3u * VP_BOARD_WATCHDOG_MS);
    vp_board_feed_watchdog();
    settle_watchdog();
    CHECK(chip.fed == 2u && !chip.watchdog_open);
}

static void test_flash(void)
{
    static const uint8_t record[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t *page = (uint8_t *)(uintptr_t)PAGE;
    uint8_t *next = page + VP_BOARD_JOURNAL_PAGE_SIZE;
    power_on(OSC_IN);
    CHECK(vp_flash_program(PAGE + 16u, record, sizeof(record)) == 0);
    CHECK(memcmp(page + 16, record, sizeof(record)) == 0 && page[15] == 255 && page[24] == 255);
    memset(next, 0, VP_BOARD_JOURNAL_PAGE_SIZE);
    CHECK(vp_flash_erase(PAGE + VP_BOARD_JOURNAL_PAGE_SIZE) == 0);
    CHECK(chip.erased == 1u << (SECTOR + 1u) && next[0] == 255 && page[16] == 1);
    CHECK(vp_flash_erase(PAGE) == 0 && chip.erased == 3u << SECTOR && page[16] == 255);
    /* Over what is not blank: ones do not come back. */
    CHECK(vp_flash_program(PAGE, record, sizeof(record)) == 0);
    CHECK(vp_flash_program(PAGE, (const uint8_t[8]){255, 0}, 8) == -1);
    CHECK(*at(FLASH_IF + 0x10u) == 1u << 31 && chip.violations == 0u);

    for (int idle = 0; idle < 2; idle++) {
        power_on(OSC_IN);
        chip.broken = !idle;
        chip.idle = idle;
        CHECK(vp_flash_program(PAGE, record, sizeof(record)) == -1);
        CHECK(vp_flash_erase(PAGE) == (idle ? 0 : -1));
        page[0] = 0;
        CHECK(vp_flash_erase(PAGE) == -1);
        CHECK(*at(FLASH_IF + 0x10u) == 1u << 31 && chip.violations == 0u);
    }
}

#if VP_STM32_F7
static int uncached(unsigned region, uint32_t origin, uint32_t size)
{
    const uint32_t attributes = chip.region_attributes[region];
    return chip.region_base[region] == origin && 2u << field(attributes, 1, 5) == size &&
           (attributes & 1u) == 1u && field(attributes, 24, 3) == 3u &&
           field(attributes, 16, 6) == 0xCu && field(attributes, 8, 8) == 0u;
}

/* Whether no access is allowed; where no region is, the default map allows it. */
static int is_closed(uint32_t address)
{
    for (unsigned region = MPU_REGIONS; region-- > 0u;) {
        const uint32_t attributes = chip.region_attributes[region];
        const uint64_t size = (uint64_t)2u << field(attributes, 1, 5);
        if ((attributes & 1u) == 1u && address - chip.region_base[region] < size) {
            CHECK(chip.region_base[region] % size == 0u && field(attributes, 8, 8) == 0u);
            return field(attributes, 24, 3) == 0u;
        }
    }
    return 0;
}

static void test_mpu(void)
{
    power_on(OSC_IN);
    vp_stm32_start_mpu();
    settle_mpu();
    CHECK(chip.core[0xD94u / 4u] == 5u);
    CHECK(uncached(3, VP_BOARD_JOURNAL_ADDRESS, 2u * VP_BOARD_JOURNAL_PAGE_SIZE));
    CHECK(uncached(4, VP_BOARD_DMA_ORIGIN, VP_BOARD_DMA_SIZE));
    for (uint32_t eighth = 0; eighth < 8u; eighth++) {
        const int outside = eighth >= 3u && eighth <= 6u;
        CHECK(is_closed(eighth << 29) == outside && is_closed((eighth << 29) + 0x1FFFFFFFu) == outside);
    }
}
#endif

int main(void)
{
    test_clock();
    test_reset_cause();
    test_serial();
#ifdef VP_STM32_RMII_PINS
    test_rmii();
#endif
    test_watchdog();
    test_flash();
#if VP_STM32_F7
    test_mpu();
#endif
    CHECK_DONE();
}
