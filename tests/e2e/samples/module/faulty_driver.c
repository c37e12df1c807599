// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that makes the mistakes which drivers make and LKDTM does not: `insmod faulty_driver.ko
 * how=divide`.  Every mistake is in a function of its own, under a name that a driver could have.
 */
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *how = "";
module_param(how, charp, 0444);
static ulong where;
module_param(where, ulong, 0444);

struct station {
	char name[16];
	unsigned long flags;
	struct station *next;
};

static DEFINE_SPINLOCK(station_lock);
static struct station *volatile nobody;
static volatile int zero;

static noinline void faulty_count_stations(void)
{
	struct station *each = nobody;

	while (each->flags != 7)	/* a member of a structure that is not there */
		each = each->next;
}

static noinline void faulty_free_station(void)
{
	struct station *gone = (struct station *)(ulong)(sizeof(long) == 8 ?
							 0xdead000000000122ULL : 0x6b6b6b6bUL);

	pr_info("station %lx\n", gone->flags);
}

static noinline void faulty_rate_percent(void)
{
	pr_info("rate %d\n", 100 / zero);
}

static noinline void faulty_wait_for_firmware(void)
{
	spin_lock(&station_lock);
	msleep(100);			/* sleeps under a spin lock */
	spin_unlock(&station_lock);
}

static noinline void faulty_schedule(void)
{
	spin_lock(&station_lock);
	schedule_timeout_uninterruptible(HZ / 10);
	spin_unlock(&station_lock);
}

static noinline void faulty_ring_alloc(void)
{
	void *ring;

	do
		ring = alloc_pages_exact(1 << 20, GFP_ATOMIC);
	while (ring);			/* and never gives one back */
}

static noinline void faulty_read_register(void)
{
	void __iomem *registers = ioremap(where, 4096);

	pr_info("register %x\n", readl(registers));
}

static void faulty_timer(struct timer_list *unused)
{
	faulty_count_stations();
}

static DEFINE_TIMER(watchdog_timer, faulty_timer);

static void faulty_work(struct work_struct *unused)
{
	faulty_count_stations();
}

static DECLARE_WORK(reset_work, faulty_work);

static int faulty_thread(void *unused)
{
	faulty_count_stations();
	return 0;
}

static noinline void faulty_no_progress(void)
{
	for (;;)
		cpu_relax();
}

static int __init faulty_init(void)
{
	pr_info("loading, how=%s\n", how);
	if (!strcmp(how, "null"))
		faulty_count_stations();
	else if (!strcmp(how, "poison"))
		faulty_free_station();
	else if (!strcmp(how, "divide"))
		faulty_rate_percent();
	else if (!strcmp(how, "sleep"))
		faulty_wait_for_firmware();
	else if (!strcmp(how, "atomic"))
		faulty_schedule();
	else if (!strcmp(how, "pages"))
		faulty_ring_alloc();
	else if (!strcmp(how, "bus"))
		faulty_read_register();
	else if (!strcmp(how, "timer"))
		mod_timer(&watchdog_timer, jiffies + 1);
	else if (!strcmp(how, "work"))
		schedule_work(&reset_work);
	else if (!strcmp(how, "thread"))
		kthread_run(faulty_thread, NULL, "faulty-rx/%d", 3);
	else if (!strcmp(how, "loop"))
		faulty_no_progress();
	msleep(500);
	return 0;
}

static void __exit faulty_exit(void)
{
}

module_init(faulty_init);
module_exit(faulty_exit);
MODULE_DESCRIPTION("A driver full of mistakes");
MODULE_LICENSE("GPL");
