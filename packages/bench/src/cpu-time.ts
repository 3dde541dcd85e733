/**
 * This thread's CPU time in ms, to a µs. Unlike time by the clock it does not count what other processes do meanwhile, so a machine
 * that has company measures almost as well as a quiet one.
 */
export function threadCpuMs(): number {
  // Linux adds what the present time slice has taken when it is asked for the whole process, and not when asked for a thread: then
  // time goes in ticks of some ms.
  process.cpuUsage();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
