/**
 * Returns the CPU time of this thread in ms, with a resolution of 1 µs. Work of other processes does not count, so a busy machine
 * measures almost as well as an idle one.
 */
export function threadCpuMs(): number {
  // Linux accounts for the current time slice only when the usage of the whole process is read. Without this call, thread time
  // advances in steps of several ms.
  process.cpuUsage();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
