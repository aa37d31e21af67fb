/* boards/common/stm32_ethernet on a simulated MAC, PHY and cable: start and link. */
#include "stm32_bench.h"

static void test_absent(void)
{
    static uint8_t bytes[1514];
    power_on();
    chip.dead = 1;
    CHECK(vp_board_ethernet_start(own_mac) == -1);
    power_on();
    chip.clockless = 1;
    CHECK(vp_board_ethernet_start(own_mac) == -1 && chip.now_us < 200000u);
    power_on();
    chip.phy_address = 99;
    CHECK(vp_board_ethernet_start(own_mac) == -1);
    power_on();
    chip.phy[2] = 0;
    CHECK(vp_board_ethernet_start(own_mac) == -1);
    CHECK(chip.interrupt == 0u && !vp_stm32_ethernet_waiting());
    CHECK(vp_board_ethernet_read(bytes, sizeof(bytes)) == 0u);
    vp_board_ethernet_write(bytes, 60);
    CHECK(chip.sent.end == 0u);
}

static void test_configuration(void)
{
    power_on();
    chip.phy_address = 31;
    CHECK(vp_board_ethernet_start(own_mac) == 0);
    CHECK(chip.interrupt == 61u && *reg(0x40) == 0x0700u && *reg(0x44) == 0x00000002u);
    CHECK(*reg(0x04) == 0x10u && *reg(0x1000) == 0x02012000u && *reg(0x1018) == 0x02202002u);
    CHECK(*reg(0x101c) == 0x10040u && *reg(0x10c) == 0x20060u && *reg(0x110) == 0x20c000u);
    CHECK(chip.receive.count == RECEIVE_RING && chip.send.count >= 4u && chip.maccr_writes == 0u);
}

static void test_link(void)
{
    static const struct {
        uint16_t partner;
        uint16_t id2;
        uint16_t special;
        uint32_t configuration;
    } cases[] = {
        {0x45e1u, 0xc131u, 0, 0x1c80cu},     {0x40a1u, 0xc0f1u, 0, 0x1c00cu},
        {0x4061u, 0xc131u, 0, 0x1880cu},     {0x0021u, 0xc131u, 0x18u, 0x1800cu},
        {0x0001u, 0xc0f1u, 0x1018u, 0x1c80cu}, {0x0001u, 0xc0f1u, 0x1008u, 0x1c00cu},
        {0x0001u, 0xc0f1u, 0x1014u, 0x1880cu}, {0x0001u, 0xc0f1u, 0x1004u, 0x1800cu},
        {0x0001u, 0xc0f1u, 0, 0x1800cu},     {0x0001u, 0x1234u, 0x18u, 0x1800cu},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        power_on();
        chip.phy[3] = cases[i].id2;
        chip.phy[5] = cases[i].partner;
        chip.phy[31] = cases[i].special;
        CHECK(vp_board_ethernet_start(own_mac) == 0);
        pass(1000);
        CHECK(chip.phy[4] == 0x01e1u && chip.phy[0] == 0x1200u && *reg(0x00) == 0x8000u);
        chip.cable = 1;
        pass(300);
        CHECK(*reg(0x00) == cases[i].configuration && chip.maccr_writes == 1u);
    }
}

static void test_link_comes_and_goes(void)
{
    start_with_link();
    const unsigned before = chip.status_reads;
    pass(5000);
    CHECK(chip.status_reads - before >= 45u && chip.status_reads - before <= 50u);
    CHECK(chip.maccr_writes == 1u && chip.partner_reads == 1u);

    chip.cable = 0;
    pass(200);
    CHECK(*reg(0x00) == 0x18000u);
    send(60, 1);
    CHECK(chip.sent.end == 0u);
    receive(own_mac, 60, 1);
    expect_nothing();
    chip.cable = 1;
    chip.phy[5] = 0x4061u;
    pass(300);
    CHECK(*reg(0x00) == 0x1880cu);
    send(60, 2);
    expect_sent(60, 2);
    receive(own_mac, 60, 2);
    expect(own_mac, 60, 2);

    /* Out and in again between two looks, at another speed. */
    chip.link_was_lost = 1;
    chip.phy[5] = 0x45e1u;
    pass(400);
    CHECK(*reg(0x00) == 0x1c80cu && chip.maccr_writes == 5u);

    /* The PHY lost its power. */
    chip.phy_address = 99;
    pass(200);
    CHECK((*reg(0x00) & 0xcu) == 0u);
    chip.phy_address = 0;
    pass(300);
    CHECK(*reg(0x00) == 0x1c80cu);
}

int main(void)
{
    test_absent();
    test_configuration();
    test_link();
    test_link_comes_and_goes();
    CHECK_DONE();
}
